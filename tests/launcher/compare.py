"""Field by field: what launcher 0.2.6 renders of configs, and what we would run.

`python -m launcher.compare FOLDER` (with PYTHONPATH=tests, in the development environment) goes
through every whole config below FOLDER, such as a clone of the launcher's repository, and prints
each difference that is not a decision of docs/launcher.md, and how often each decision applied.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.corpus import configs_in
from launcher.ours import planned, rendered, words
from rig.launcher_environment import launcher_python
from snakeval.errors import InputError

THEIRS = Path(__file__).with_name("theirs.py")
ABSENT = "absent"

DECISIONS: dict[str, tuple[str, ...]] = {
    "where something is kept": (
        r"tasks\.\d+\.run_config\.target\.api_endpoint\.url: 'http://127\.0\.0\.1:\d+/",
        r"tasks\.\d+\.run_config\..*: '\$\{\w+_URL\}', ours 'auxiliary_deployments\.",
    ),
    "record of requests": (
        r"adapter_config\.max_saved_requests: 'absent', ours 1000000000$",
        r"adapter_config: 'absent', ours \{'max_saved_requests': 1000000000\}$",
    ),
    "repeats": (
        r"adapter_config\.use_caching: .*, ours False$",
        r"adapter_config: 'absent', ours \{.*, 'use_caching': False\}$",
    ),
    "adapter_config of the target": (r"adapter_config: 'absent', ours \{'interceptors'",),
    "path of the URL": (
        r"api_endpoint\.url: '(\S+?)/(chat/)?completions(\?\S*)?', ours '\1/(chat/)?completions",
    ),
    "older name of the key": (r"api_endpoint\.api_key_name: 'absent', ours '\w+'$",),
    "`pre_cmd`, `post_cmd`": (
        r"run_config\.metadata\.(pre|post)_cmd: ",
        r"run_config\.metadata: \{'p\w+_cmd': .*\}, ours 'absent'$",
    ),
    "`metadata` of the run config": (r"run_config\.metadata: \{\}, ours 'absent'",),
    "empty parameters": (r"run_config\.config(\.params)?: 'absent', ours \{\}$",),
    "variables where nothing reads them": (r"run_config\.env_vars: ",),
    "telemetry": (r"env\.NEMO_EVALUATOR_TELEMETRY_LEVEL: 'lit:0', ours 'absent'$",),
    "folders for evaluation": (r"^local: tasks\.\d+\.mounts: \[\], ours ",),
    "NIM's name and port": (r"server\.env\.NIM_\w+: 'absent', ours ",),
    "HF_HOME of a cache": (r"server\.env\.HF_HOME: 'absent', ours 'lit:/cache'$",),
    "batch script: coming back": (r"sbatch\.no-requeue: '', ours 'absent'$",),
    "batch script: a job of the server's own": (
        r"server\.sbatch\.(nodes|comment): ",
        r"server\.sbatch\.gres: 'gpu:8', ours 'gpu:\d+'$",
    ),
    "GPUs of the server's job": (r"server\.sbatch\.gres: 'gpu:8', ours 'absent'$",),
    "a judge's command": (r"judges\.\w+\.command: ",),
    "`vllm_ray`": (r"server\.command: '.*ray start --head.*--distributed-executor-backend ray",),
}
"""Differences that are meant, by their row in docs/launcher.md: patterns of what is printed."""


@dataclass
class Found:
    """What came out over all configs."""

    both: int = 0
    neither: int = 0
    only_theirs: dict[str, str] = field(default_factory=dict)
    only_ours: dict[str, str] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    decided: Counter[str] = field(default_factory=Counter)


def compared(texts: Mapping[str, str]) -> Found:
    """Compares configs, given as texts by name. Raises RigUnavailable without the launcher."""
    found = Found()
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for number, (name, text) in enumerate(texts.items()):
            files[name] = Path(folder) / f"config_{number}.yaml"
            files[name].write_text(text, encoding="utf-8")
        theirs = _theirs([str(file) for file in files.values()], Path(folder))
        for name, file in files.items():
            _compare(name, file, theirs[str(file)], found)
    return found


def _theirs(files: list[str], home: Path) -> dict[str, Any]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "USER": "me",
        "HF_TOKEN": "given",
        "NEMO_EVALUATOR_TELEMETRY_LEVEL": "0",
    }
    ended = subprocess.run(
        [launcher_python(), "-B", THEIRS, *files], capture_output=True, text=True, env=environment
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def _compare(name: str, file: Path, theirs: dict[str, Any], found: Found) -> None:
    os.environ.setdefault("USER", "me")
    refused = theirs.get("refused", "")
    try:
        ours = rendered(planned(file, theirs.get("filled")))
    except InputError as error:
        if refused:
            found.neither += 1
        else:
            found.only_theirs[name] = str(error).replace(str(file), "")
        return
    if refused:
        found.only_ours[name] = " ".join(refused.split())[:200]
        return
    found.both += 1
    for each in differences(theirs, ours):
        difference = f"{ours['executor']}: {each}"
        row = next((row for row, each in DECISIONS.items() if _is(each, difference)), "")
        if row:
            found.decided[row] += 1
        else:
            found.differences.append(f"{name}: {difference}")


def _is(patterns: tuple[str, ...], difference: str) -> bool:
    return any(re.search(pattern, difference, re.S) for pattern in patterns)


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    """Fields that differ: `key: theirs, ours ...`."""
    yield from _differing("tasks", len(theirs["tasks"]), len(ours["tasks"]))
    for number, (their, our) in enumerate(zip(theirs["tasks"], ours["tasks"], strict=False)):
        at = f"tasks.{number}"
        for key in ("image", "endpoint_type"):
            yield from _differing(f"{at}.{key}", their[key], our[key])
        if "run_config" not in their:
            continue
        yield from _in(f"{at}.run_config", their["run_config"], our["run_config"])
        keys = {our["key"], _key_of_target(theirs["config"])}  # one that is not asked with stays
        env = {key: value for key, value in their["env"].items() if key not in keys}
        own = {key: each for key, each in our["env"].items() if key not in keys}
        own.pop("NEMO_EVALUATOR_DATASET_DIR", None)  # theirs is no variable of the config
        yield from _in(f"{at}.env", env, own)
        yield from _differing(f"{at}.mounts", _paths(their["mounts"]), _paths(our["mounts"]))
        if "docker" in their:
            yield from _differing(f"{at}.docker", their["docker"], our["docker"])
        if "mount_home" in their:
            yield from _differing(f"{at}.mount_home", their["mount_home"], our["mount_home"])
    if bool(theirs["server"]) != bool(ours["server"]):
        yield f"server: {theirs['server']!r}, ours {ours['server']!r}"
    elif theirs["server"]:
        yield from _of_server("server", theirs["server"], ours["server"])
    for name, their in theirs["judges"].items():
        yield from _of_server(f"judges.{name}", their, ours["judges"].get(name) or {})


def _key_of_target(config: Mapping[str, Any]) -> str | None:
    endpoint = (config.get("target") or {}).get("api_endpoint") or {}
    name: str | None = endpoint.get("api_key_name")
    return name


def _of_server(at: str, theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    for key in ("image", "pre_cmd", "port"):
        if key in theirs:
            yield from _differing(f"{at}.{key}", theirs[key], ours.get(key))
    yield from _differing(
        f"{at}.command", plain(theirs["command"], theirs), plain(ours.get("command"), theirs)
    )
    yield from _in(f"{at}.paths", theirs["endpoints"] or {}, _set(ours.get("paths") or {}))
    if "env" in theirs:
        yield from _in(f"{at}.env", theirs["env"], ours["env"])
    if "mounts" in theirs:
        yield from _differing(f"{at}.mounts", _paths(theirs["mounts"]), _paths(ours["mounts"]))
        yield from _differing(
            f"{at}.ready_timeout", float(theirs["ready_timeout"]), ours["ready_timeout"]
        )
    for flag, value in theirs.get("sbatch", {}).items():
        if flag not in ("job-name", "output"):
            given = ours["sbatch"].get(flag, ABSENT)
            yield from _differing(f"{at}.sbatch.{flag}", value, given)


def plain(command: Any, server: Mapping[str, Any]) -> str:
    """A server's command without what is decided: code of a repository, address and port, and one
    process of mpirun's."""
    text = words(str(command or ""))
    text = re.sub(r" --trust[-_]remote[-_]code\b", "", text)
    text = re.sub(r" --host (0\.0\.0\.0|\{host\})", "", text)
    text = text.replace(f"--port {server.get('port')}", "--port {port}")
    return text.replace(f"--port={server.get('port')}", "--port {port}").replace(
        "--oversubscribe -n 1 ", "--oversubscribe "
    )


def _set(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}


def _paths(mounts: list[str]) -> list[str]:
    """Mounts with absolute folders, in one order."""
    found = []
    for each in mounts:
        source, _, target = each.partition(":")
        found.append(f"{Path(source).expanduser().resolve()}:{target}")
    return sorted(found)


def _in(at: str, theirs: Any, ours: Any) -> Iterator[str]:
    """The same, inside of mappings."""
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        yield from _differing(at, theirs, ours)
        return
    for key in dict.fromkeys([*theirs, *ours]):
        yield from _in(f"{at}.{key}", theirs.get(key, ABSENT), ours.get(key, ABSENT))


def _differing(at: str, theirs: Any, ours: Any) -> Iterator[str]:
    if theirs != ours:
        yield f"{at}: {theirs!r}, ours {ours!r}"


def main() -> None:
    found = compared({each.name: each.text for each in configs_in(Path(sys.argv[1]))})
    for difference in found.differences:
        print(difference)
    for name, why in found.only_theirs.items():
        print(f"{name}: refused by us alone: {why}")
    for name, why in found.only_ours.items():
        print(f"{name}: refused by the launcher alone: {why}")
    print(f"rendered by both: {found.both}; refused by both: {found.neither}")
    for row, number in found.decided.most_common():
        print(f"decided, {row}: {number}")


if __name__ == "__main__":
    main()
