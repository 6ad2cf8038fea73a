"""What is brought to the login node: the config as one file, and the user's own definition files.

Groups and overrides are in it already, and so is what `${oc.env:NAME}` meant on this machine: the
config means there what it means here. No secret can be in it (`config/secrets.py` refuses them),
and no value of a variable that `env_vars` or `api_key_name` name.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from snakeval.config.compose import SHELL_SECTIONS
from snakeval.config.layers import dig
from snakeval.config.load import merged
from snakeval.errors import InputError, Problem

FILES = "files"
"""The folder of the definition files, beside the config."""
LEFT_OUT = ("__pycache__", ".git", ".hg", ".svn", ".ipynb_checkpoints", ".env*", "*.pyc")
"""No part of a definition; and `.env` may hold secrets."""

_VARIABLE = re.compile(r"\$\{\s*oc\.env\s*:\s*([A-Za-z_]\w*)\s*(?:,\s*([^{}]*?)\s*)?\}")


@dataclass(frozen=True)
class Parcel:
    """folders: of definitions, by their names below `files/`."""

    text: str
    folders: Mapping[str, Path]

    @contextmanager
    def packed(self) -> Iterator[Path]:
        """A folder with all of it; those of definitions are links."""
        with tempfile.TemporaryDirectory(prefix="snakeval-") as made:
            place = Path(made)
            (place / "config.yaml").write_text(self.text, encoding="utf-8")
            (place / FILES).mkdir()
            for name, folder in self.folders.items():
                (place / FILES / name).symlink_to(folder.resolve())
            yield place


def parcel_of(files: Sequence[Path], values: Mapping[str, Any]) -> Parcel:
    """The parcel of a config that was checked before. Raises InputError.

    values  of `--config`
    """
    raw = merged(files, values)
    if raw.get("allow_inline_secrets"):
        what = "lets secrets stand in the config, and nothing secret is sent to another machine"
        fix = "name variables in it (`env_vars: {NAME: host:NAME}`), or start it on the login node"
        raise InputError([Problem(f"{files[-1]}: allow_inline_secrets", what, fix)])
    for section in raw.keys() - set(SHELL_SECTIONS):
        raw[section] = filled(raw[section])
    folders = dict(_definitions(raw, files[-1]))
    text = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)
    named = ", ".join(str(file) for file in files)
    return Parcel(f"# Brought here by `snakeval run`: {named}\n{text}", folders)


def filled(value: Any) -> Any:
    """A part of a config with what `${oc.env:NAME}` means on this machine."""
    if isinstance(value, dict):
        return {key: filled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each) for each in value]
    return _VARIABLE.sub(_meant, value) if isinstance(value, str) else value


def _meant(found: re.Match[str]) -> str:
    value = os.environ.get(found[1], found[2])
    if value is None:  # told by the check of the config, or of no use
        return found[0]
    return value.strip("'\"") if found[1] not in os.environ else value.replace("${", "\\${")


def _definitions(raw: dict[str, Any], file: Path) -> Iterator[tuple[str, Path]]:
    """The folders of definitions that are on this machine; the config names their copies then.

    What is an absolute path and not here is one of the cluster.
    """
    base = file.resolve().parent
    for name, body in (dig(raw, "harnesses") or {}).items():
        for key in ("include_path", "files"):
            given = body.get(key) if isinstance(body, dict) else None
            if not isinstance(given, str) or not given:
                continue
            folder = base / Path(given).expanduser()
            if folder.is_dir():
                body[key] = f"{FILES}/{name}-{key}"
                yield f"{name}-{key}", folder
            elif not Path(given).expanduser().is_absolute():
                fix = "correct the path; it is relative to the config file"
                place = f"{file}: harnesses.{name}.{key}"
                raise InputError([Problem(place, f"there is no folder {folder}", fix)])
