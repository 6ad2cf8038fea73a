"""Files that a container wrote as root belong to the caller afterwards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .job import Job

SINCE = "cache-since"
"""In the record: what root adds to the cache from then on is given to the caller, also after a
crash."""

IN_CONTAINER = """owner=$(stat -c %u:%g /snakeval/record) || exit
find /results -xdev "(" -type b -o -type c ")" -exec rm -f {} +
find /results -xdev -type f "(" -perm -4000 -o -perm -2000 ")" -exec chmod ug-s {} +
find /results -xdev -exec chown -h "$owner" {} + || exit
[ -d /snakeval/huggingface ] || exit 0
set -- -user 0 -cnewer
find /snakeval/huggingface -prune "$@" /snakeval/record/cache-since >/dev/null 2>&1 ||
    set -- -user 0 -newer
find /snakeval/huggingface "$@" /snakeval/record/cache-since -exec chown -h "$owner" {} +
"""
"""As root of a container, which is the caller in a rootless engine: so the owner of a folder that
the caller has made is asked for inside. Of a shared cache only what root has added is touched."""


def give_back(job: Job, engine: str, cache: str) -> None:
    since = job.record / SINCE
    options = ["-v", f"{job.work}:/results", "-v", f"{job.record}:/snakeval/record:ro"]
    if cache and _is_foreign(cache, since):
        options += ["-v", f"{cache}:/snakeval/huggingface"]
    elif not _is_foreign(str(job.work)):
        since.unlink(missing_ok=True)
        return
    words = [engine, "run", "--rm", "--network", "none", "--user", "0:0", *options]
    words += ["--entrypoint", "sh", job.image, "-c", IN_CONTAINER]
    with Path(job.log).open("ab") as log:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=False,
        )
    if done.returncode == 0:
        since.unlink(missing_ok=True)
    else:
        job.say(f"some files in {job.work}{f' or {cache}' if cache else ''} belong to another user")


def _is_foreign(folder: str, since: Path | None = None) -> bool:
    """Whether a folder has files of somebody else, which have changed since another file did."""
    limit = since.stat().st_mtime if since else 0.0
    for here, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            try:
                found = os.lstat(os.path.join(here, name))
            except OSError:
                continue
            if found.st_uid != os.getuid() and found.st_ctime > limit:
                return True
    return False
