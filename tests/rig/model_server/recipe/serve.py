"""Serves a GGUF model by llama.cpp, OpenAI-compatible, until a signal ends it.

Runs as a process (`python serve.py --model FILE --port N`) and in the rig's server image.
"""

import argparse
import signal
import sys
import time

import xllamacpp


def main() -> None:
    parser = argparse.ArgumentParser(description="llama.cpp's server over a GGUF file")
    parser.add_argument("--model", required=True, help="the GGUF file")
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=4, help="requests answered at once")
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.served_model_name}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = 1024 * options.slots
    params.n_predict = 16  # random weights have nothing to say
    params.warmup = False
    params.cpuparams.n_threads = 1
    params.endpoint_metrics = True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = xllamacpp.Server(params)
    print(f"listening at {server.listening_address}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
