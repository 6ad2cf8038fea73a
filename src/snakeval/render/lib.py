"""A run folder's `lib/`: the Python that its scripts call, without this package.

`lib/job/` is a copy of `snakeval.job`. Beside it stand the files that scripts start by their path,
those of earlier versions too: each starts the module of the same name.
Byte code of the modules comes with them (`byte_code.py`).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from snakeval.job.files import write_changed
from snakeval.render.byte_code import write_byte_code

MODULES = (
    "__init__",
    "files",
    "text",
    "hostile",
    "launch",
    "record",
    "paths",
    "endpoint",
    "lease",
    "redact",
    "processes",
    "attempt",
    "cancelled",
    "server",
    "need",
    "server_process",
    "supervisor_lease",
    "supervise",
    "slurm_calls",
    "slurm_job",
    "shared_folder",
    "verify",
    "checked",
    "scores",
    "result_formats/__init__",
    "result_formats/facts",
    "result_formats/model",
    "result_formats/sample_files",
    "result_formats/own_readers",
    "result_formats/own_samples",
    "result_formats/own_scores",
    "result_formats/files",
    "result_formats/held",
    "result_formats/lm_eval",
    "result_formats/nemo",
    "result_formats/declared",
    "harness_log",
    "causes",
    "answer_cache",
    "keeper/__init__",
    "keeper/apptainer",
    "keeper/batch",
    "keeper/beside",
    "keeper/bridge",
    "keeper/by_hand",
    "keeper/commands",
    "keeper/engine",
    "keeper/group",
    "keeper/hold",
    "keeper/images",
    "keeper/job",
    "keeper/killed",
    "keeper/log_filter",
    "keeper/main",
    "keeper/ownership",
    "keeper/prepared",
    "keeper/process",
    "keeper/pyxis",
    "keeper/runtime",
    "keeper/runtimes",
    "keeper/servers",
    "keeper/settings",
    "keeper/stop",
    "keeper/surroundings",
    "keeper/variables",
    "gateway/__init__",
    "gateway/__main__",
    "gateway/accounts",
    "gateway/asked",
    "gateway/budget",
    "gateway/completion",
    "gateway/ledger",
    "gateway/libraries",
    "gateway/pace",
    "gateway/server",
    "gateway/service",
    "gateway/tally",
    "gateway/told",
    "gateway/upstream",
)
"""Modules of `snakeval.job` that a run folder gets."""

STARTED = (
    *("attempt", "server", "supervise", "slurm_job", "shared_folder", "verify", "gateway"),
    "launch",
)
"""Those that scripts start, as `lib/<name>.py`."""

_STARTER = '''\
"""Starts job/{name}.py, whose commands it has."""

import runpy

runpy.run_module("job.{name}", run_name="__main__")
'''

_KEEPER = '''\
"""Starts the keeper, as `run.sh` does: job/keeper/main.py."""

import os
import signal
import sys

if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
if sys.version_info < (3, 9):
    version = ".".join(map(str, sys.version_info[:2]))
    sys.exit("Python 3.9 or newer is needed, and %s is %s" % (sys.executable, version))
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from job.keeper.main import main

main()
'''


@cache
def job_file(name: str) -> str:
    """The text of a file of `snakeval/job`."""
    return (files("snakeval.job") / name).read_text(encoding="utf-8")


def write_library(lib: Path) -> None:
    """Makes the folder, or brings it up to date."""
    for folder in {(lib / "job" / name).parent for name in MODULES}:
        folder.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        write_changed(lib / "job" / f"{name}.py", job_file(f"{name}.py"))
    for name in STARTED:
        write_changed(lib / f"{name}.py", _STARTER.format(name=name))
    write_changed(lib / "keeper.py", _KEEPER)
    own = Path(str(files("snakeval.job")))
    write_byte_code({lib / "job" / f"{name}.py": own / f"{name}.py" for name in MODULES})
