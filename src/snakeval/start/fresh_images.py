"""Images whose name means another one by now than the one that a run began with.

A start asks the registries beside everything else, and waits for none: a late answer is told when
it comes, one that never comes is not missed. `update_images=true` asks before it plans: what was
made with another image is evaluated again, and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from snakeval.errors import InputError
from snakeval.job.files import mapping_in, read_json
from snakeval.plan.pending import runtime_of, runtime_of_server
from snakeval.plan.run import Run, Task
from snakeval.render.task import WITHOUT_ENGINE
from snakeval.run_folder.records import image_of_result
from snakeval.runtime import RUNTIMES, Runtime, archives
from snakeval.runtime.images import is_pinned

PATIENCE = 2.0
"""Seconds that a start waits at most for what it has asked at its beginning."""

WHEN_ASKED = 30.0
"""Seconds that `update_images=true` waits for the registries."""

SHOWN = 5
"""Benchmarks that a sentence names."""

EMPTY: Mapping[Task, str] = MappingProxyType({})

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Used:
    """An image that a run is about. `mirror`: asked in place of its own registry."""

    runtime: str
    image: str
    mirror: str | None = None


def used_by(run: Run, wanted: str, pending: Mapping[Task, str] = EMPTY) -> set[Used]:
    """The images of a run's benchmarks and of its servers that an engine here can be asked about.

    wanted   the runtime of the profile
    pending  the runtime of benchmarks whose jobs have said it
    What `snakemake prefetch` has put beside the runs is what is used, whatever a registry says.
    """
    found = {(pending.get(task) or runtime_of(task, wanted), task.image) for task in run.selected}
    found |= {
        (runtime_of_server(server, wanted), server.image)
        for server in run.servers.values()
        if not server.hosted_by
    }
    mirror = run.config.execution.image_mirror
    return {
        Used(runtime, image, mirror)
        for runtime, image in found
        if image and runtime not in WITHOUT_ENGINE and "@" not in image
        if not archives.find(run.paths.dir.parent, image, runtime)
    }


class Answers:
    """What the registries say, asked at once, each in a thread that nobody has to wait for."""

    def __init__(self, asked: Iterable[Used], runtimes: Mapping[str, Runtime]) -> None:
        self._changed = threading.Condition()
        self._said: dict[Used, str | None] = {}
        self.asked = set(asked)
        for used in self.asked:
            ask = threading.Thread(target=self._ask, args=(used, runtimes), daemon=True)
            ask.start()

    def _ask(self, used: Used, runtimes: Mapping[str, Runtime]) -> None:
        try:
            said = runtimes[used.runtime].latest(used.image, used.mirror)
        except Exception:  # whatever an engine has against it: then nobody can say
            said = None
        with self._changed:
            self._said[used] = said
            self._changed.notify_all()

    def within(self, seconds: float) -> dict[Used, str | None]:
        """Those that have come by then. None: nobody can say."""
        until = time.monotonic() + seconds
        with self._changed:
            while self.asked - self._said.keys() and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return dict(self._said)

    def tell_late(self, used: Iterable[Used], tell: Callable[[Used, str | None], None]) -> None:
        """Tells of each when its answer comes, if it does while this process lives."""

        def wait_and_tell(one: Used) -> None:
            with self._changed:
                while one not in self._said:
                    self._changed.wait()
            tell(one, self._said[one])

        for one in used:
            threading.Thread(target=wait_and_tell, args=(one,), daemon=True).start()


class Look:
    """A look at the images of runs that have begun, for a start that goes on with them."""

    def __init__(
        self,
        runs: Sequence[Run],
        wanted: str,
        pending: Mapping[Task, str] = EMPTY,
        runtimes: Mapping[str, Runtime] | None = None,
    ) -> None:
        self._runs = [run for run in runs if not run.update_images]
        self._runtimes = runtimes or {name: kind() for name, kind in RUNTIMES.items()}
        self._pinned: dict[Used, dict[str, list[Run]]] = {}
        for run in self._runs:
            images = mapping_in(read_json(run.paths.record), "images")
            for used in used_by(run, wanted, pending):
                pinned = str(images.get(used.image) or "")
                if is_pinned(pinned):
                    self._pinned.setdefault(used, {}).setdefault(pinned, []).append(run)
        self._answers = Answers(self._pinned, self._runtimes)

    def tell(self, tell: Tell) -> None:
        """Says which images are others by now, and what to do."""
        if not self._pinned:
            return

        def tell_of(used: Used, latest: str | None) -> None:
            for sentence in self._sentences(used, latest):
                tell(sentence)

        come = self._answers.within(PATIENCE)
        for used in sorted(come, key=lambda used: used.image):
            tell_of(used, come[used])
        self._answers.tell_late(self._answers.asked - come.keys(), tell_of)

    def _sentences(self, used: Used, latest: str | None) -> Iterable[str]:
        runtime = self._runtimes[used.runtime]
        for pinned, runs in self._pinned[used].items():
            now, where = latest, "in its registry"
            if not latest or "@" not in latest:  # built here, or nobody can be asked
                now, where = runtime.here(used.image), "on this machine"
                pinned = runtime.here(pinned) or ""
            if now and pinned and not _is_same(runtime, now, pinned):
                yield _sentence(used.image, now, pinned, where, _made_with(runs, used.image))


def _sentence(image: str, now: str, pinned: str, where: str, made: Sequence[str]) -> str:
    again = f", and evaluates {_named(made)} again" if made else ""
    return (
        f"image {image} is another one by now {where} ({_short(now)}); this run goes on with the "
        f"one that it began with ({_short(pinned)}). --config update_images=true takes the new "
        f"one{again} (with -n it only shows what)"
    )


def _made_with(runs: Iterable[Run], image: str) -> list[str]:
    tasks = [task for run in runs for task in run.selected if task.image == image]
    return [task.label for task in tasks if task.published]


def planned_again(
    runs: Sequence[Run], wanted: str, may_bring: bool, tell: Tell, warn: Tell
) -> tuple[Run, ...]:
    """`update_images=true`: the runs in which what was made with another image is started over.

    wanted     the runtime of the profile
    may_bring  an image may be brought here to know what it is, where its registry cannot be asked
    """
    runtimes = {name: kind() for name, kind in RUNTIMES.items()}
    asked = {used for run in runs if run.update_images for used in _of_results(run, wanted)}
    said = Answers(asked, runtimes).within(WHEN_ASKED)
    latest = {used: said.get(used) or _brought(runtimes, used, may_bring) for used in asked}
    for used in sorted((used for used in asked if not latest[used]), key=lambda used: used.image):
        warn(
            f"update_images: nobody here can say what {used.image} means now; benchmarks that "
            "were finished with it stay (fresh=<task> starts one over)"
        )

    def is_changed(run: Run, task: Task) -> bool:
        used = Used(runtime_of(task, wanted), str(task.image), run.config.execution.image_mirror)
        made, now = image_of_result(task.paths, task.digest) or "", latest.get(used) or ""
        return all(map(is_pinned, (made, now))) and not _is_same(runtimes[used.runtime], now, made)

    found = []
    for run in runs:
        changed = [task for task in _finished(run) if run.update_images and is_changed(run, task)]
        new = tuple(task for task in changed if task not in run.fresh)
        for image in sorted({str(task.image) for task in new}):
            names = [task.label for task in new if task.image == image]
            tell(f"update_images: {image} is another one by now; evaluated again: {_named(names)}")
        found.append(replace(run, fresh=(*run.fresh, *new)) if new else run)
    return tuple(found)


def _finished(run: Run) -> list[Task]:
    return [task for task in run.selected if task.image and task.published]


def _of_results(run: Run, wanted: str) -> set[Used]:
    images = {task.image for task in _finished(run)}
    return {used for used in used_by(run, wanted) if used.image in images}


def _brought(runtimes: Mapping[str, Runtime], used: Used, may_bring: bool) -> str | None:
    """What the start itself would take in a moment: where no registry answers, what is here."""
    runtime = runtimes[used.runtime]
    if not may_bring:
        return runtime.here(used.image)
    try:
        return runtime.pin(used.image, True, used.mirror)
    except InputError:
        return None


def _is_same(runtime: Runtime, one: str, other: str) -> bool:
    """One image may have several digests: of a list for several machines, and of its own. An
    engine that has both knows."""
    if _digest(one) == _digest(other):
        return True
    known = runtime.here(one)
    return bool(known and known == runtime.here(other))


def _digest(reference: str) -> str:
    return reference.rpartition("@")[2]


def _short(reference: str) -> str:
    return _digest(reference)[:19]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
