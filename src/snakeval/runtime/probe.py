"""Whether containers can write where results go, and whose the files are: tried where in doubt.

A container as root writes everywhere on a local disk. Not so on a network file system that trusts
no root (NFS with root squash), in an image with a user of its own, with further arguments of the
user's; and podman cannot start any container without an init program.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from snakeval.errors import Problem
from snakeval.job.causes import NOT_STARTED
from snakeval.job.harness_log import around
from snakeval.plan.run import Task

NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p", "fuse.")
"""Beginnings of the types of file systems on which another machine decides who may write."""

WRITE = ": >/results/file && mkdir /results/folder && : >/results/folder/file"
GIVE_BACK = 'chown -R "$(stat -c %u:%g /results/snakeval)" /results'


def cannot_write(tasks: Mapping[Task, str], images: Mapping[str, str]) -> list[Problem]:
    """What a container of these tasks would find; empty where there is no doubt.

    tasks   task -> runtime; all of one run
    images  image as written -> the pinned one, which is here
    """
    wanted = {
        (runtime, images.get(str(task.image), str(task.image)), task.extra_docker_args)
        for task, runtime in tasks.items()
        if task.image and runtime in ("docker", "podman")
    }
    if not wanted:
        return []
    folder = next(iter(tasks)).paths.dir.parent.parent.absolute()
    network = file_system(folder).startswith(NETWORK)
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(
            lambda one: list(_try(folder, *one)) if network or _in_doubt(*one) else [],
            sorted(wanted),
        )
        return [problem for problems in found for problem in problems]


def file_system(folder: Path) -> str:
    """The type of the file system of a folder, as in /proc/mounts; empty where nobody says."""
    found, longest = "", -1
    with contextlib.suppress(OSError):
        path = str(folder.resolve())
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            _, place, kind, *_ = line.split(" ")
            place = place.replace("\\040", " ").rstrip("/")
            if (path + "/").startswith(place + "/") and len(place) >= longest:
                found, longest = kind, len(place)
    return found


def _in_doubt(runtime: str, image: str, extra: str) -> bool:
    if runtime == "podman" or extra:
        return True
    shown = _run([runtime, "image", "inspect", "--format", "{{json .Config.User}}", image])
    with contextlib.suppress(ValueError):
        return str(json.loads(shown.stdout)).partition(":")[0] not in ("", "0", "root")
    return False


def _try(folder: Path, runtime: str, image: str, extra: str) -> Iterable[Problem]:
    place = Path(tempfile.mkdtemp(prefix=".snakeval-probe-", dir=folder))
    try:
        # As run.sh makes a work folder.
        place.chmod(0o755)
        (place / "snakeval").mkdir()
        start = [runtime, "run", "--rm", "--init", "-v", f"{place}:/results"]
        written = _run([*start, *shlex.split(extra), "--entrypoint", "sh", image, "-c", WRITE])
        if written.returncode:
            yield _refusal(written, f"a container of {image}", runtime, folder)
            return
        if not _is_mine(place):
            _run([*start, "--user", "0:0", "--entrypoint", "sh", image, "-c", GIVE_BACK])
        if not _is_mine(place):
            yield Problem(
                runtime,
                f"files that containers of {image} write in {folder} will not be yours",
                "run them as yourself: execution.extra_docker_args: --user "
                f"{os.getuid()}:{os.getgid()}",
                warning=True,
            )
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _refusal(
    ended: subprocess.CompletedProcess[str], container: str, runtime: str, folder: Path
) -> Problem:
    lines = [line for line in ended.stderr.splitlines() if line and "--help" not in line]
    said = lines[-1] if lines else f"exit code {ended.returncode}"
    if ended.returncode == NOT_STARTED:
        cause = next(filter(None, map(around, lines)), said)
        return Problem(
            runtime,
            f"{container} cannot be started: {cause}",
            "further arguments come from execution.extra_docker_args",
        )
    return Problem(
        runtime,
        f"{container} cannot write in {folder}: {said}",
        "choose an output_dir on a local disk, or run as yourself: "
        f'execution.extra_docker_args: "--user {os.getuid()}:{os.getgid()}"',
    )


def _is_mine(folder: Path) -> bool:
    return os.getuid() == 0 or all(path.lstat().st_uid == os.getuid() for path in folder.rglob("*"))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
