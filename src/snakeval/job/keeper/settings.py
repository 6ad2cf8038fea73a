"""What `run.sh` says: it holds texts that bash passes over, each between two lines.

    : 'settings' <<'END'
    {"task": "ifeval", ...}
    END
    : 'command.sh' <<'END'
    ...

The first one is the settings. The others are files that the harness and the check are given.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

SETTINGS = "settings"
_BEGIN = re.compile(r": '?([\w.]+)'? <<'(END_*)'\Z")


@dataclass(frozen=True)
class Settings:
    """The settings of a task. What an older script does not say has its default here."""

    task: str
    digest: str
    runtime: str
    called: str = ""
    """The task where people read: its label, in a sweep with its model. Empty: as its folder."""
    image: str = ""
    archive: str = ""
    """A file with the image, relative to the output folder; `archive_id` is the image's id."""
    archive_id: str = ""
    endpoint_url: str = ""
    endpoint_path: str = ""
    """Of an endpoint on a server of the pipeline, below the server's address."""
    endpoint_model: str = ""
    key_name: str = ""
    check_model: bool = True
    demo_endpoint: bool = False
    servers: list[str] = field(default_factory=list)
    auxiliary: list[dict[str, str]] = field(default_factory=list)
    """Endpoints on servers beside the model's: server, variable, reference, path."""
    beside: list[dict[str, Any]] = field(default_factory=list)
    """Further endpoints that the harness asks through the gateway: name, url, reference (what
    stands for the address in its files), key (its variable), is_hidden (the key)."""
    server_timeout: float = 600.0
    gateway: bool = False
    gateway_keys: list[str] = field(default_factory=list)
    gateway_patience: float = 120.0
    max_in_flight: int | None = None
    variables: dict[str, str] = field(default_factory=dict)
    """The harness's: `lit:` and a text, or `host:` and the variable of this machine that must be
    set."""
    wanted: list[str] = field(default_factory=list)
    """Variables that are passed on where they are set."""
    files: str = ""
    mounts: list[str] = field(default_factory=list)
    mount_home: bool = False
    hf_home: str = ""
    hf_token: bool = False
    extra_args: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    own_cache: list[str] = field(default_factory=list)
    """A text in the harness's files, and what takes its place without a gateway (see `Recipe`)."""
    umask: str = ""

    @classmethod
    def of(cls, said: dict[str, Any]) -> Settings:
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in said.items() if name in known})


def read(script: Path) -> tuple[Settings, dict[str, str]]:
    """The settings in a script, and the files. Raises OSError, ValueError or TypeError."""
    with script.open(encoding="utf-8", newline="") as file:
        found = texts_in(file.read())
    return Settings.of(json.loads(found.pop(SETTINGS, "{}"))), found


def texts_in(script: str) -> dict[str, str]:
    """The texts that bash passes over, by their names."""
    found: dict[str, str] = {}
    name, mark, lines = "", "", list[str]()
    for line in script.split("\n"):
        if mark and line == mark:
            found[name] = "\n".join([*lines, ""])
            mark, lines = "", []
        elif mark:
            lines.append(line)
        elif begun := _BEGIN.match(line):
            name, mark = begun.groups()
    return found


def value_in(words: list[str], *options: str) -> str | None:
    """What the user's words for the engine say of an option, the last time; None: nothing."""
    found = None
    for word, following in zip(words, [*words[1:], ""]):  # noqa: B905 # Python 3.9
        name, equals, value = word.partition("=")
        if name in options:
            found = value if equals else following
    return found


def has_own_network(runtime: str, extra_args: list[str]) -> bool:
    """Whether the user has put the container into another network than the host's."""
    if runtime not in ("docker", "podman"):
        return False
    return value_in(extra_args, "--network", "--net") not in (None, "host")
