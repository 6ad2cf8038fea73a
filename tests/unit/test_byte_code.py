"""Byte code in a run folder's `lib/`: tasks compile nothing, and never run what is out of date."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from snakeval.render import byte_code
from snakeval.render.lib import MODULES, write_library

IMPORT_ALL = """
import importlib, sys
compiled = []
def heard(event, given):
    if event == "compile" and str(given[1]).startswith(sys.argv[1]):
        compiled.append(given[1])
sys.addaudithook(heard)
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
print(len(compiled))
"""
IMPORTED = ("job.keeper.main", "job.keeper.engine", "job.gateway.service", "job.verify")


@pytest.fixture(autouse=True)
def keeps_byte_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    write_library(tmp_path / "lib")
    return tmp_path / "lib"


def compiled_by_a_task(lib: Path, **environment: str) -> int:
    """How many modules of the run folder a task compiles; `run.sh` starts it with -B."""
    ended = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL, str(lib), *IMPORTED],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return int(ended.stdout)


def byte_code_in(lib: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in lib.rglob("__pycache__/*")}


def value_of(lib: Path) -> str:
    """What a task finds in one module of the run folder."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from job.files import TAIL; print(TAIL)"
    words = [sys.executable, "-B", "-c", code, str(lib)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_a_task_compiles_no_module_of_its_run_folder(lib: Path) -> None:
    assert len(byte_code_in(lib)) == len(MODULES)
    assert compiled_by_a_task(lib) == 0


def test_a_copy_of_the_run_folder_keeps_it(lib: Path, tmp_path: Path) -> None:
    """With other times, as `cp -r` makes them."""
    shutil.copytree(lib, tmp_path / "copy", copy_function=shutil.copyfile)
    for file in (tmp_path / "copy").rglob("*.py"):
        os.utime(file, (1, 1))
    assert compiled_by_a_task(tmp_path / "copy") == 0


def test_a_module_that_has_changed_is_run_as_it_is_now(lib: Path) -> None:
    """Of the same size and time, as after a start with another version and another Python."""
    module = lib / "job" / "files.py"
    assert value_of(lib) == "20"
    times = module.stat()
    module.write_text(module.read_text().replace("TAIL = 20", "TAIL = 21"))
    os.utime(module, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert value_of(lib) == "21"


def test_a_start_brings_it_up_to_date_and_removes_all_other(lib: Path) -> None:
    """Whoever could once write there is not believed for ever."""
    before = byte_code_in(lib)
    file = Path(cache_from_source(str(lib / "job" / "files.py")))
    other = Path(cache_from_source(str(lib / "job" / "text.py")))
    file.write_bytes(before[file][:16] + before[other][16:])
    (file.parent / "files.cpython-39.pyc").write_bytes(b"of nobody")
    write_library(lib)
    assert byte_code_in(lib) == before


def test_a_start_writes_only_what_has_changed(lib: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in byte_code_in(lib)}
    write_library(lib)
    assert {file: file.stat().st_mtime_ns for file in byte_code_in(lib)} == before


def test_who_wants_no_byte_code_has_none(lib: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_library(lib)
    assert byte_code_in(lib) == {}
    assert compiled_by_a_task(lib) > 10


def test_where_python_looks_elsewhere_the_modules_count(lib: Path, tmp_path: Path) -> None:
    assert compiled_by_a_task(lib, PYTHONPYCACHEPREFIX=str(tmp_path / "elsewhere")) > 10


def test_an_environment_that_keeps_none_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_code, "cache_from_source", lambda source: "/nonexistent/nothing.pyc")
    write_library(tmp_path / "lib")
    assert byte_code_in(tmp_path / "lib") == {}
    assert compiled_by_a_task(tmp_path / "lib") > 10
