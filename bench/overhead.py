"""What the pipeline costs beside plain `docker run` and beside the NeMo Evaluator Launcher: 1, 8
and 40 benchmarks at once, the same real evaluation image, the same endpoint (50 ms an answer, 10
samples each); the time to the first container; a resume of one of many beside that one alone.

Starts the tests' own parts: a Docker engine, the evaluation image, a scripted endpoint, and the
launcher from PyPI in an environment of its own.

    python -m bench.overhead [--counts 1,8,40] [--times 5,3,1] [--without launcher]
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from tests.rig.docker_engine import engine_for_session
from tests.rig.endpoint import ScriptedEndpoint
from tests.rig.image import BENCHMARK, NEMO_IMAGE, ensure_nemo_image

from bench.side_by_side import PROFILE, ROOT, SNAKEMAKE, Cost, compare, cost, in_turns

SAMPLES = 10
LATENCY = 0.05
"""Seconds an answer takes."""

WANTED = {1: "ratio 1.30, and no slower than the launcher", 8: "ratio 1.10", 40: "ratio 1.08"}
BENCHMARKS = "lm-evaluation-harness.mmlu_instruct"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="1,8,40", help="benchmarks at once")
    parser.add_argument("--times", default="5,3,1", help="how often, for each count")
    parser.add_argument("--without", default="", help="launcher, docker, snakeval, resume")
    given = parser.parse_args()
    counts = zip(given.counts.split(","), given.times.split(","), strict=True)
    left_out = given.without.split(",")
    with (
        engine_for_session() as engine,
        ScriptedEndpoint(latency=LATENCY) as endpoint,
        tempfile.TemporaryDirectory(prefix="snakeval-bench-") as folder,
    ):
        os.environ["DOCKER_HOST"] = engine.host
        ensure_nemo_image(engine)
        places = (Path(folder) / str(number) for number in itertools.count())
        for count, times in counts:
            at_once(places, endpoint.chat_url, int(count), int(times), left_out)
        if "resume" not in left_out:
            resume(places, endpoint.chat_url, 40)


def at_once(places: Iterator[Path], url: str, count: int, times: int, left_out: list[str]) -> None:
    """All ways in turns."""
    where, containers = (places, url, count), list[float]()
    ways = {
        "docker run": partial(plain, *where),
        "launcher": partial(launcher, *where),
        "snakeval": partial(pipeline, *where, containers),
    }
    ways = {name: way for name, way in ways.items() if name.split()[0] not in left_out}
    what = "1 benchmark" if count == 1 else f"{count} benchmarks at once"
    costs = in_turns(ways, times)
    yardstick = next(iter(ways))
    name = f"{what}, beside {yardstick}"
    title = f"{what}, median of {times}; CPU without the containers'"
    compare(title, WANTED.get(count, ""), costs, yardstick, cpu=False, kept=name)
    if containers:
        print(f"  first container after {median(containers):.2f} s   (wanted: 2.0 s)", flush=True)


def resume(places: Iterator[Path], url: str, count: int) -> None:
    """One of many whose result is gone, beside that one alone."""
    folder = written(next(places), url, count)
    cost(command(count), folder)
    gone = next(folder.glob("out/*/*/published/*"))
    task = gone.parents[1]
    for part in ("published", "work", "record"):
        shutil.rmtree(task / part)
    again = cost(command(count), folder)
    alone = cost(command(count), written(next(places), url, 1))
    costs = {"alone": alone, "snakeval": again}
    title = f"resume of one of {count} benchmarks"
    compare(title, "ratio 1.3", costs, "alone", cpu=False, kept=f"{title}, beside it alone")


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
                "type": BENCHMARKS,
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


def launcher(places: Iterator[Path], url: str, count: int) -> Cost:
    """The same through the launcher, from `run` to the end of the scripts that it leaves."""
    from tests.rig.launcher_environment import launcher_python

    folder = next(places)
    folder.mkdir()
    # Without `defaults` it composes its own: the local executor, no deployment.
    config = {
        "defaults": [{"execution": "local"}, {"deployment": "none"}, "_self_"],
        "execution": {"output_dir": str(folder / "out"), "extra_docker_args": "--network host"},
        "target": {"api_endpoint": {"url": url, "model_id": "test-model"}},
        "evaluation": {
            "tasks": [
                {
                    **benchmark(one),
                    "env_vars": {
                        "ADAPTER_PORT": f"lit:{free_port()}",
                        "NEMO_EVALUATOR_TELEMETRY_LEVEL": "lit:0",
                    },
                }
                for one in params(count)
            ]
        },
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    environment = {
        "HOME": str(folder),  # it keeps a database there
        "NEMO_EVALUATOR_TELEMETRY_LEVEL": "0",
        "NEMO_EVALUATOR_TRUST_UNLISTED_TASKS": "1",
    }
    words = [str(launcher_python().with_name("nemo-evaluator-launcher")), "run", "--config"]
    spent = cost([*words, "my.yaml"], folder, environment, leaves_others=True)
    results = list(folder.glob("out/*/*/artifacts/results.yml"))
    if len(results) != count:
        raise RuntimeError(f"the launcher has {len(results)} of {count} results")
    return spent


def pipeline(places: Iterator[Path], url: str, count: int, containers: list[float]) -> Cost:
    """The same through the pipeline; it fails where a benchmark does.

    containers  gets the seconds to the first container
    """
    folder, began = written(next(places), url, count), time.time()
    spent = cost(command(count), folder)
    containers.append(_first_container(began) - began)
    return spent


def _first_container(since: float) -> float:
    """When the engine was asked for one, on its own clock, which is this machine's."""
    words = ["docker", "events", "--filter", "event=create", "--format", "{{.TimeNano}}"]
    times = [f"--since={since:.3f}", f"--until={time.time():.3f}"]
    told = subprocess.run([*words, *times], capture_output=True, text=True, check=True).stdout
    return int(told.split()[0]) / 1e9


def written(folder: Path, url: str, count: int) -> Path:
    """A folder with a config of that many benchmarks."""
    folder.mkdir()
    config = {
        "execution": {"output_dir": "out", "min_free_gb": 0},
        "target": {"api_endpoint": {"url": url, "model_id": "test-model"}},
        "evaluation": {"tasks": [benchmark(one) for one in params(count)]},
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    return folder


def benchmark(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": BENCHMARKS,
        "container": NEMO_IMAGE,
        "dataset_dir": str(BENCHMARK),
        "dataset_mount_path": "/benchmark",
        "nemo_evaluator_config": {"config": {"params": one}},
    }


def command(count: int) -> list[str]:
    flags = ["--profile", PROFILE, "--cores", str(count), "--configfile", "my.yaml"]
    return [SNAKEMAKE, "-s", str(ROOT / "Snakefile"), *flags]


if __name__ == "__main__":
    main()
