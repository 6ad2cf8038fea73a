"""The validator of Every Eval Ever, from its own package, in a process of its own.

The package asks for Python 3.12 and for much that its validator does not need (DuckDB, plotting).
So it is unpacked beside the environment, which has what the validator imports, pydantic and
jsonschema.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from rig.unavailable import unavailable

VERSION = "0.3.0"
WHEEL = f"every_eval_ever-{VERSION}-py3-none-any.whl"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snakeval-rig"


def unpacked() -> Path:
    """The folder with the package; downloaded once. Skips where there is none (fails in CI)."""
    folder = CACHE / f"every_eval_ever-{VERSION}"
    if not (folder / "every_eval_ever").is_dir():
        asked = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--python-version", "3.12", "--only-binary=:all:", "--dest", str(folder)),
                f"every-eval-ever=={VERSION}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode != 0:
            unavailable(f"every-eval-ever {VERSION} is not to be had: {asked.stderr.strip()}")
        with zipfile.ZipFile(folder / WHEEL) as wheel:
            wheel.extractall(folder)
    return folder


def validate(files: list[Path]) -> list[dict[str, Any]]:
    """The validator's report of every file: valid, errors, warnings."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "every_eval_ever.validator.validate", "--format", "json"),
            *map(str, files),
        ],
        env={**os.environ, "PYTHONPATH": str(unpacked())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode in (0, 1, 2), ended.stderr
    reports: list[dict[str, Any]] = json.loads(ended.stdout)
    return reports
