"""What the pipeline costs beside plain `docker run`: 1 and 8 benchmarks, the same real evaluation
image, the same endpoint (50 ms an answer, 10 samples each).

Starts the tests' own parts: a Docker engine, the evaluation image, a scripted endpoint.

    python -m bench.overhead [--times 3] [--at-once 8]
"""

from __future__ import annotations

import argparse
import itertools
import os
import socket
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from tests.rig.docker_engine import engine_for_session
from tests.rig.endpoint import ScriptedEndpoint
from tests.rig.image import BENCHMARK, NEMO_IMAGE, ensure_nemo_image

from bench.side_by_side import PROFILE, ROOT, SNAKEMAKE, Cost, compare, cost, in_turns

SAMPLES = 10
LATENCY = 0.05
"""Seconds an answer takes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=8)
    given = parser.parse_args()
    with (
        engine_for_session() as engine,
        ScriptedEndpoint(latency=LATENCY) as endpoint,
        tempfile.TemporaryDirectory(prefix="snakeval-bench-") as folder,
    ):
        os.environ["DOCKER_HOST"] = engine.host
        ensure_nemo_image(engine)
        places = (Path(folder) / str(number) for number in itertools.count())
        for count, wanted in ((1, "ratio 1.35"), (given.at_once, "ratio 1.15")):
            where = (places, endpoint.chat_url, count)
            costs = in_turns(
                {"docker run": partial(plain, *where), "snakeval": partial(pipeline, *where)},
                given.times,
            )
            what = "1 benchmark" if count == 1 else f"{count} benchmarks (xargs -P {count})"
            compare(what, wanted, costs, "docker run", cpu=False)


def params(count: int) -> Iterator[dict[str, Any]]:
    """The parameters of `count` benchmarks; they differ, so that none is another one's repeat."""
    for number in range(count):
        yield {
            "task": "snakeval_sums",
            "limit_samples": SAMPLES,
            "parallelism": 4,
            "max_new_tokens": 64 + number,
            "extra": {"num_fewshot": 0, "args": "--include_path /benchmark"},
        }


def free_port() -> int:
    """Adapters on the host's network are in each other's way unless each has its own port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def plain(places: Iterator[Path], url: str, count: int) -> Cost:
    """`docker run` of the image with a run config, `count` at once."""
    folder = next(places)
    commands = []
    for number, one in enumerate(params(count)):
        work = folder / str(number)
        work.mkdir(parents=True)
        config = {
            "config": {
                "type": "lm-evaluation-harness.mmlu_instruct",
                "output_dir": "/results",
                "params": one,
            },
            "target": {"api_endpoint": {"url": url, "model_id": "test-model", "type": "chat"}},
        }
        (work / "run_config.yaml").write_text(yaml.safe_dump(config))
        commands.append(
            f"docker run --rm --network host -e ADAPTER_PORT={free_port()}"
            f" -e NEMO_EVALUATOR_TELEMETRY_LEVEL=0 -v {work}:/results -v {BENCHMARK}:/benchmark"
            f" {NEMO_IMAGE} nemo-evaluator run_eval --run_config /results/run_config.yaml"
        )
    (folder / "commands").write_text("\n".join(commands) + "\n")
    script = f"xargs -P {count} -I {{}} sh -c '{{}} 2>&1' < commands > log || tail -n 30 log"
    spent = cost(["sh", "-c", script], folder)
    results = list(folder.glob("*/results.yml"))
    if len(results) != count:
        log = (folder / "log").read_text()
        raise RuntimeError(f"{len(results)} of {count} benchmarks have a result\n{log}")
    return spent


def pipeline(places: Iterator[Path], url: str, count: int) -> Cost:
    """The same through the pipeline; it fails where a benchmark does."""
    folder = next(places)
    folder.mkdir()
    config = {
        "execution": {"output_dir": "out", "min_free_gb": 0},
        "target": {"api_endpoint": {"url": url, "model_id": "test-model"}},
        "evaluation": {
            "tasks": [
                {
                    "name": "lm-evaluation-harness.mmlu_instruct",
                    "container": NEMO_IMAGE,
                    "dataset_dir": str(BENCHMARK),
                    "dataset_mount_path": "/benchmark",
                    "nemo_evaluator_config": {"config": {"params": one}},
                }
                for one in params(count)
            ]
        },
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    flags = ["--profile", PROFILE, "--cores", str(count), "--configfile", "my.yaml"]
    return cost([SNAKEMAKE, "-s", str(ROOT / "Snakefile"), *flags], folder)


if __name__ == "__main__":
    main()
