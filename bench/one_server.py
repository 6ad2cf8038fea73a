"""What one server for six benchmarks saves beside a server for each of them.

The server takes a while to load its weights, as real ones do (here: a few seconds of sleep); six
short benchmarks ask it. Beside one start of the pipeline with all six: six starts with one each,
one after the other, as where a GPU has room for one server.

    python -m bench.one_server [--load 10] [--times 1]
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from bench.side_by_side import PROFILE, ROOT, SNAKEMAKE, Cost, compare, cost, in_turns

COUNT = 6
SERVER = ROOT / "tests" / "deploy" / "scripted_server.py"
QUIZ = ROOT / "tests" / "workflow" / "quiz"
MODEL = "m"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=float, default=10, help="seconds that loading takes")
    parser.add_argument("--times", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="snakeval-bench-") as folder:
        places = (Path(folder) / str(number) for number in itertools.count())
        loads: dict[str, int] = {}
        measures = {
            "one server": partial(together, places, given.load, loads),
            "a server each": partial(one_by_one, places, given.load, loads),
        }
        title = f"{COUNT} benchmarks, a model that takes {given.load:g} s to load"
        compare(title, "ratio above 2", in_turns(measures, given.times), "one server", cpu=False)
        for name, number in loads.items():
            print(f"  {name:24}{number:>10} model loads")


def together(places: Iterator[Path], load: float, loads: dict[str, int]) -> Cost:
    """All benchmarks in one start."""
    folder = written(next(places), load)
    found = cost(command(), folder)
    loads["one server"] = loaded(folder)
    return found


def one_by_one(places: Iterator[Path], load: float, loads: dict[str, int]) -> Cost:
    """A start, and so a server, for each benchmark."""
    folder = written(next(places), load)
    names = ["quiz", *(f"quiz.{number}" for number in range(1, COUNT))]
    found = [cost(command("--config", f"tasks={name}"), folder) for name in names]
    loads["a server each"] = loaded(folder)
    return Cost(sum(each.wall for each in found), sum(each.cpu for each in found))


def command(*more: str) -> list[str]:
    files = ["-s", str(ROOT / "Snakefile"), "--configfile", "my.yaml"]
    return [SNAKEMAKE, *files, "--profile", PROFILE, "--cores", str(COUNT), *more]


def written(folder: Path, load: float) -> Path:
    """A folder with a config of all benchmarks."""
    folder.mkdir()
    serve = f"sleep {load:g}; exec {sys.executable} {SERVER} --port {{port}} --name {MODEL}"
    ask = "python3 {files}/ask.py --url {url} --model {model_id} --results {results} --seed"
    own = {
        "kind": "command",
        "command": f"{ask} {{param.seed}} --pause 0.1",
        "files": str(QUIZ),
        "tasks": {"quiz": {"endpoint_type": "chat", "samples": 10}},
    }
    config: dict[str, Any] = {
        "execution": {"output_dir": "out", "min_free_gb": 0},
        "deployment": {"type": "process", "command": serve, "served_model_name": MODEL},
        "harnesses": {"own": own},
        "evaluation": {
            "tasks": [
                {
                    "name": "own.quiz",
                    "nemo_evaluator_config": {"config": {"params": {"extra": {"seed": seed}}}},
                }
                for seed in range(COUNT)
            ]
        },
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    return folder


def loaded(folder: Path) -> int:
    """How often the model was loaded, as the run's results have it."""
    (results,) = folder.glob("out/*/results/results.json")
    servers = json.loads(results.read_text())["servers"]
    return int(servers["model"]["loads"])


if __name__ == "__main__":
    main()
