"""What of a run nobody needs any more, how large it is, and its removal.

Four kinds of things can go: unfinished work folders of earlier specs and folders that `fresh=` has
put aside; what the attempts before a published one left; caches in which harnesses keep answers,
where the result is published and its table reads the same without them; images of a finished run
that can be pulled again and that nothing else uses. Never a result that is published or complete,
and nothing of a task that runs now.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakeval.config.load import load_resolved
from snakeval.errors import InputError, size_in_words
from snakeval.job import answer_cache, hostile, verify
from snakeval.job.files import mapping_in, read_json
from snakeval.job.lease import living
from snakeval.plan.make import read_run
from snakeval.plan.run import Run
from snakeval.results.samples import write_samples
from snakeval.run_folder import controller
from snakeval.run_folder.layout import RUN_FOLDER_NAMES, RunPaths, TaskPaths
from snakeval.run_folder.records import task_state
from snakeval.runs.kill import ENGINES

HALF_DELETED = ".deleting"
"""A folder is renamed before it is removed, so that nobody works in half of one."""


@dataclass(frozen=True)
class Leftover:
    """One thing that can go: a folder or file (`path`), or an image of an engine.

    what  in words; size: bytes
    """

    what: str
    where: str
    size: int
    path: Path | None = None
    image: tuple[str, str] | None = None


@dataclass
class Found:
    """What can go of a run, and what is kept and why. `plan`: None where it cannot be read."""

    run: RunPaths
    plan: Run | None = None
    leftovers: list[Leftover] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def look(run: RunPaths, others: Sequence[RunPaths], catalogue: Path) -> Found:
    """What can go of a run; reads only. `others`: runs that may use the same images."""
    found = Found(run)
    driver = controller.alive(run.controller)
    if driver and not driver.is_this_process:
        found.kept.append(f"everything: pid {driver.pid} on {driver.host} drives the run")
        return found
    try:
        plan = read_run(run.dir, load_resolved(run.config), catalogue)
    except InputError as error:
        found.kept.append(f"everything: its config cannot be read ({error.problems[0]})")
        return found
    found.plan = plan
    current = {task.name: task.digest for task in plan.tasks}
    tasks = list(_tasks(run))
    holders = living(paths.lease for paths in tasks)
    for paths in tasks:
        if owner := holders.get(paths.lease):
            found.kept.append(f"{paths.dir.name}: pid {owner.pid} on {owner.host} is running")
            continue
        known = {current.get(paths.dir.name, ""), task_state(paths).digest}
        found.leftovers += _superseded(run, paths, known, found.kept)
        found.leftovers += _left_before(run, paths, known)
        found.leftovers += _caches(run, paths)
    found.leftovers += _images(plan, others, found.kept)
    return found


def _tasks(run: RunPaths) -> Iterator[TaskPaths]:
    """Every task folder of a run, also of tasks that are no longer in the config."""
    for folder in sorted(run.dir.iterdir()):
        if folder.name not in RUN_FOLDER_NAMES and (folder / "task.yaml").exists():
            yield TaskPaths(folder)


def _superseded(
    run: RunPaths, paths: TaskPaths, current: set[str], kept: list[str]
) -> Iterator[Leftover]:
    """Work folders that no result stands for and no present spec continues from."""
    for folder in sorted(_listed(paths.dir / "work")):
        digest, _, number = folder.name.partition(".")
        if folder.name.endswith(HALF_DELETED):
            what = "half deleted before"
        elif number.isdigit():
            what = "put aside by fresh="
        elif digest in current:
            continue
        elif paths.is_complete(digest):
            kept.append(
                f"{paths.dir.name}/work/{digest}: {size_in_words(size_of(folder))}, the published "
                "result of an earlier spec"
            )
            continue
        else:
            what = "unfinished, of an earlier spec"
        yield Leftover(what, str(folder.relative_to(run.dir)), size_of(folder), folder)


def _left_before(run: RunPaths, paths: TaskPaths, current: set[str]) -> Iterator[Leftover]:
    """What the attempts before a published one left, which that one began without."""
    if not all(paths.is_complete(digest) for digest in current if digest):
        return
    for folder in sorted(paths.logs.glob(paths.left_before("*").name)):
        where = str(folder.relative_to(run.dir))
        yield Leftover("left by an earlier attempt", where, size_of(folder), folder)


def _caches(run: RunPaths, paths: TaskPaths) -> Iterator[Leftover]:
    """Harnesses' caches of published results, where the result reads the same without them."""
    for link in sorted(_listed(paths.dir / "published")):
        work = paths.work(link.name)
        caches = answer_caches(work)
        if caches and paths.is_complete(link.name) and _reads_alike_without(paths, link.name):
            for cache in caches:
                yield Leftover(
                    "answers cached by the harness; the result is published",
                    str(cache.relative_to(run.dir)),
                    size_of(cache),
                    cache,
                )


def answer_caches(work: Path) -> list[Path]:
    """What harnesses keep in a work folder to continue from: files and folders."""
    nemo = work / answer_cache.RESPONSES.parent.parent
    others = [*work.glob("*_rank*.db*"), *work.glob(f".*{HALF_DELETED}")]
    return [path for path in (nemo, *sorted(others)) if path.exists()]


def _reads_alike_without(paths: TaskPaths, digest: str) -> bool:
    """Whether scores and coverage are the same when the caches are gone: some are read from them.

    Tried on a copy that has hard links, or copies, of the regular files beside the caches.
    """
    work = paths.work(digest)
    try:
        spec = json.loads(paths.check_spec(digest).read_text(encoding="utf-8"))
        whole = verify.read_results(work, spec)
        with tempfile.TemporaryDirectory(prefix=".clean-", dir=paths.record(digest)) as name:
            _copy_without(work, answer_caches(work), Path(name))
            return verify.read_results(Path(name), spec) == whole
    except (OSError, ValueError, verify.CheckFailed):
        return False


def _copy_without(work: Path, caches: Sequence[Path], copy: Path) -> None:
    """Regular files only: whatever a link or a pipe leads to is no part of a result."""
    for name in hostile.files(work):
        path = work / name
        if any(cache == path or cache in path.parents for cache in caches):
            continue
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, copy / name, follow_symlinks=False)
        except OSError:  # another file system, or one without hard links
            (copy / name).write_bytes(hostile.read(work, name))


# --- images --------------------------------------------------------------------------------------


def _images(plan: Run, others: Iterable[RunPaths], kept: list[str]) -> Iterator[Leftover]:
    """Images of a finished run that can be pulled again and that nothing else uses."""
    pinned = _pinned(plan.paths)
    if not pinned or not all(task.published for task in plan.tasks):
        return
    elsewhere = {image for other in others for image in _pinned(other).values()}
    for name, image in sorted(pinned.items()):
        for engine in ENGINES:
            facts = _inspected(engine, image)
            if facts is None:
                continue
            why = _in_use(engine, facts, name, image, elsewhere)
            if why:
                kept.append(f"image {image}: {why}")
                continue
            yield Leftover(
                f"image in {engine}; the run is finished, and it can be pulled again",
                image,
                int(facts["Size"]),
                image=(engine, image),
            )


def _pinned(run: RunPaths) -> dict[str, str]:
    """The images of a run: as written -> as used."""
    images = mapping_in(read_json(run.record), "images")
    return {name: str(image) for name, image in images.items()}


def _in_use(
    engine: str, facts: dict[str, Any], name: str, image: str, elsewhere: set[str]
) -> str | None:
    """Why an image stays."""
    if image in elsewhere:
        return "another run uses it"
    if "@sha256:" not in image:
        return "it came from no registry and could not be pulled again"
    repository = image.partition("@")[0]
    tags = [
        tag
        for tag in facts.get("RepoTags") or []
        if tag != name and tag.rpartition(":")[0] != repository
    ]
    if tags:
        return f"it is also named {', '.join(tags)}"
    containers = _said(
        engine, "ps", "-a", "--filter", f"ancestor={image}", "--format", "{{.Names}}"
    )
    return f"container {containers.split()[0]} is made of it" if containers else None


def _inspected(engine: str, image: str) -> dict[str, Any] | None:
    """What an engine knows about an image; None where it is not here."""
    said = _said(engine, "image", "inspect", image)
    try:
        facts: dict[str, Any] = json.loads(said)[0]
        return facts
    except (ValueError, IndexError):
        return None


def _said(engine: str, *arguments: str) -> str:
    """Standard output of an engine's command; empty where there is no engine."""
    if shutil.which(engine) is None:
        return ""
    answer = subprocess.run(
        [engine, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return answer.stdout.strip() if answer.returncode == 0 else ""


# --- removal -------------------------------------------------------------------------------------


def remove(run: RunPaths, others: Sequence[RunPaths], catalogue: Path) -> tuple[Found, list[str]]:
    """Removes what can go now. Returns what that was, and what could not be removed.

    The run is held meanwhile, so that no start begins to work in it. Raises InputError when
    another one holds it.
    """
    hold = controller.Hold(run.controller)
    try:
        found = look(run, others, catalogue)
        if found.plan and found.leftovers:
            write_samples(found.plan)  # it takes numbers of tokens from the caches
        failures = [failure for each in found.leftovers if (failure := _remove(each))]
    finally:
        hold.release()
    return found, failures


def _remove(leftover: Leftover) -> str | None:
    """Removes one thing; a sentence where that did not work."""
    if leftover.image:
        return _remove_image(*leftover.image)
    path = leftover.path
    assert path is not None
    try:
        if path.is_dir() and not path.is_symlink():
            aside = path
            if not path.name.endswith(HALF_DELETED):
                aside = path.with_name(f".{path.name}{HALF_DELETED}")
                path.rename(aside)
            _remove_tree(aside)
        else:
            path.unlink()
    except OSError as error:
        return f"{leftover.where} could not be removed: {error.strerror} ({error.filename})"
    return None


def _remove_tree(folder: Path) -> None:
    """Also one whose folders lie deeper in each other than Python can follow."""
    try:
        shutil.rmtree(folder)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False)


def _remove_image(engine: str, image: str) -> str | None:
    facts = _inspected(engine, image) or {}
    for name in [*(facts.get("RepoTags") or []), image]:
        _said(engine, "rmi", name)
    return f"image {image} could not be removed" if _inspected(engine, image) else None


# --- in words ------------------------------------------------------------------------------------


def print_found(found: Sequence[Found], removed: bool, as_json: bool) -> None:
    """What can go, or has gone, of every run, with sizes."""
    if as_json:
        rows = [
            {"run": each.run.id, "what": item.what, "where": item.where, "bytes": item.size}
            for each in found
            for item in each.leftovers
        ]
        print(json.dumps(rows, indent=1))
        return
    for each in found:
        print(f"{each.run.dir}:")
        for item in each.leftovers:
            print(f"  {size_in_words(item.size):>9}  {item.where}  ({item.what})")
        for line in each.kept:
            print(f"  {'stays':>9}  {line}")
        if not each.leftovers and not each.kept:
            print("  nothing can go")
    total = size_in_words(sum(item.size for each in found for item in each.leftovers))
    if removed:
        print(f"{total} removed")
    elif any(each.leftovers for each in found):
        print(f"{total} can go; nothing was removed. The same command with yes=true removes it")


def size_of(path: Path) -> int:
    """Bytes that a file or folder takes on the disk; links count for nothing."""
    total = 0
    names = (name for name, _ in hostile.entries(path)) if path.is_dir() else (Path(),)
    with contextlib.suppress(hostile.Refused):  # so many or so deep: at least so large
        for name in names:
            with contextlib.suppress(OSError):
                found = (path / name).lstat()
                total += found.st_blocks * 512 if stat.S_ISREG(found.st_mode) else 0
    return total


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
