"""How far the benchmarks of some runs are, looked at again and again: what a live view shows."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakeval.job.files import mapping_in, read_json
from snakeval.job.gateway.ledger import MODEL
from snakeval.job.gateway.tally import live, paused, totals_of
from snakeval.run_folder.jobs import LiveJobs
from snakeval.run_folder.layout import RunPaths, TaskPaths
from snakeval.run_folder.models import names_of_models
from snakeval.run_folder.records import TaskState, read_yaml, task_names, task_state
from snakeval.run_folder.servers import deployments_of, record_of, supervisor_of
from snakeval.runs import earlier
from snakeval.runs.jobs import live_jobs

WINDOW = 120.0
"""Seconds over which a rate is taken."""

ASK_QUEUE = 20.0
"""Seconds between two questions to a cluster, and two looks for an earlier run."""

STARTS = 60.0
"""Seconds in which a harness without an answer is said to start."""

TOKENS = 1_000_000
"""For which a price is."""

AT_REST = ("published", "changed")
BAR = re.compile(r"(\d+)/(\d+) \[\d")
"""The end of a bar of tqdm, as lm-eval and others write it: `12/200 [00:03<`."""


@dataclass(frozen=True)
class Line:
    """One benchmark now.

    done, expected  samples; None: not known
    in_answers      both are answers of the model: nothing tells its samples, or a sample takes
                    several
    per_second      samples, or answers; None: not known yet
    failures        requests without an answer so far
    tokens          of prompts and answers so far
    cost            so far, by the prices of the config, which are in `currency`; None: not known
    paused          seconds for which the service wants to be left alone (429)
    is_guess        `expected` is what an earlier run of the same benchmark had
    waits_for       in words; empty while it works
    elapsed         seconds of this attempt
    """

    run: str
    name: str
    state: str
    done: int | None = None
    expected: int | None = None
    per_second: float | None = None
    failures: int = 0
    tokens: int = 0
    waits_for: str = ""
    cause: str = ""
    elapsed: float | None = None
    cost: float | None = None
    currency: str = ""
    paused: float = 0.0
    is_guess: bool = False
    in_answers: bool = False

    @property
    def share(self) -> float | None:
        """Of its samples that are done, 0 to 1."""
        if self.state in AT_REST:
            return 1.0
        return min(1.0, self.done / self.expected) if self.done and self.expected else None

    @property
    def left(self) -> float | None:
        """Seconds, if it goes on like this."""
        if self.state != "running" or not (self.expected and self.per_second):
            return None
        return max(0, self.expected - (self.done or 0)) / self.per_second


@dataclass(frozen=True)
class Amount:
    """As in `Line`."""

    done: int | None
    expected: int | None
    is_guess: bool = False
    in_answers: bool = False


class Watch:
    """Of some runs; what is finished is not read again.

    selected  names of the tasks by run folder; None: all of them
    """

    def __init__(
        self,
        runs: Sequence[RunPaths],
        selected: Mapping[Path, Sequence[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs, self._selected, self._clock = runs, selected, clock
        self._finished: dict[Path, Line] = {}
        self._seen: dict[Path, deque[tuple[float, int]]] = {}
        self._jobs: dict[Path, tuple[float, LiveJobs]] = {}
        self._prices: dict[Path, dict[str, Any]] = {}
        self._earlier: dict[Path, tuple[float, earlier.Sizes | None]] = {}
        self._models = _models(runs)

    def look(self) -> list[Line]:
        """Every benchmark, in the order of the config."""
        return [
            line
            for run in self._runs
            if run.record.exists()
            for line in self._of_run(run, self._names(run))
        ]

    def of(self, states: Sequence[TaskState]) -> list[Line]:
        """The same, of states of the first run that were looked at already."""
        run = self._runs[0]
        loading = server_that_loads(run)
        return [self._line(run, state, loading) for state in states]

    def _names(self, run: RunPaths) -> Sequence[str]:
        chosen = self._selected.get(run.dir) if self._selected else None
        return chosen if chosen is not None else task_names(run)

    def _of_run(self, run: RunPaths, names: Sequence[str]) -> list[Line]:
        is_open = any(run.task(name).dir not in self._finished for name in names)
        jobs = self._jobs_of(run) if is_open else None
        loading = server_that_loads(run) if is_open else ""
        return [self._of_task(run, run.task(name), jobs, loading) for name in names]

    def _of_task(self, run: RunPaths, task: TaskPaths, jobs: LiveJobs | None, loading: str) -> Line:
        if task.dir not in self._finished:
            line = self._line(run, task_state(task, jobs=jobs), loading)
            if line.state not in AT_REST:
                return line
            self._finished[task.dir] = line
        return self._finished[task.dir]

    def _jobs_of(self, run: RunPaths) -> LiveJobs:
        asked, jobs = self._jobs.get(run.dir, (None, None))
        if jobs is None or asked is None or self._clock() - asked > ASK_QUEUE:
            jobs = live_jobs(run)
            self._jobs[run.dir] = (self._clock(), jobs)
        return jobs

    def _line(self, run: RunPaths, state: TaskState, loading: str) -> Line:
        paths = run.task(state.name)
        told = live(paths.record(state.digest)) if state.digest else {}
        failures, tokens = _asked(told)
        prices = self._prices_of(run)
        running = state.state == "running"
        amount = self._amount(run, state)
        return Line(
            run.id,
            self._called(run, state),
            state.state,
            amount.done,
            amount.expected,
            self._rate(paths.dir, state, amount.done),
            failures,
            tokens,
            _waits_for(state, loading, told),
            state.cause or "",
            state.elapsed,
            cost_of(told, prices),
            str(prices.get("currency", "USD")),
            paused(told) if running else 0.0,
            amount.is_guess,
            amount.in_answers,
        )

    def _amount(self, run: RunPaths, state: TaskState) -> Amount:
        """What is done and expected. What an earlier run had is a guess; where a sample takes
        several answers it is a better one than the samples."""
        known = state.expected or expected_in(state.log)
        counts = state.requests is not None
        if state.state != "running" or (known and not counts):
            return Amount(state.samples, known)
        before = self._before(run, state)
        if counts and before and before.answers and before.answers != (known or before.samples):
            return Amount(state.requests, before.answers, True, True)
        if known:
            return Amount(state.samples, known)
        guess = before.samples if before else None
        return Amount(state.samples, guess, True, counts and guess is None)

    def _prices_of(self, run: RunPaths) -> dict[str, Any]:
        """Those of the run's config, read once."""
        if run.dir not in self._prices:
            self._prices[run.dir] = mapping_in(read_yaml(run.config), "prices")
        return self._prices[run.dir]

    def _before(self, run: RunPaths, state: TaskState) -> earlier.Sizes | None:
        """What an earlier run had of the same benchmark; looked for until there is one."""
        task, now = run.task(state.name), self._clock()
        asked, found = self._earlier.get(task.dir, (None, None))
        if found is None and (asked is None or now - asked > ASK_QUEUE):
            found = earlier.sizes_of(run, task)
            self._earlier[task.dir] = (now, found)
        return found

    def _called(self, run: RunPaths, state: TaskState) -> str:
        """Benchmarks of several models are told apart by them."""
        model = self._models.get(run.dir)
        return f"{state.shown} of {model}" if model else state.shown

    def _rate(self, task: Path, state: TaskState, done: int | None) -> float | None:
        """Over the last two minutes; at the first look over the attempt."""
        if state.state != "running" or done is None:
            self._seen.pop(task, None)
            return None
        seen = self._seen.setdefault(task, deque())
        now = self._clock()
        if seen and done < seen[-1][1]:  # another attempt
            seen.clear()
        seen.append((now, done))
        while len(seen) > 2 and now - seen[0][0] > WINDOW:
            seen.popleft()
        return rate_of(seen) or (done / state.elapsed if state.elapsed else None)


def _models(runs: Sequence[RunPaths]) -> dict[Path, str]:
    """What each run's model is called beside the others; nothing where there are none."""
    if len(runs) < 2:
        return {}
    said = [str(mapping_in(read_json(run.record), "identity").get("model_id")) for run in runs]
    names = names_of_models(said, [run.id[-8:] for run in runs])
    return {run.dir: name for run, name in zip(runs, names, strict=True)}


def rate_of(seen: Sequence[tuple[float, int]]) -> float | None:
    """Samples a second between the first and the last look; None where nothing was added."""
    seconds, samples = seen[-1][0] - seen[0][0], seen[-1][1] - seen[0][1]
    return samples / seconds if seconds > 0 and samples > 0 else None


def _asked(told: Mapping[str, object]) -> tuple[int, int]:
    """Failures and tokens that a gateway tells of the model's endpoint."""
    try:
        found = told["endpoints"][MODEL]  # type: ignore[index]
        tokens = found["tokens"]
        return int(found["failed"]), int(tokens.get("prompt", 0)) + int(tokens.get("completion", 0))
    except (KeyError, TypeError, ValueError, AttributeError):
        return 0, 0


def cost_of(told: Mapping[str, object], prices: Mapping[str, Any]) -> float | None:
    """What the tokens that a gateway tells have cost; None where that is not known."""
    used = totals_of(told, MODEL)
    kinds = [kind for kind in ("prompt_tokens", "completion_tokens") if prices.get(kind)]
    if not used or not kinds or any(kind not in used for kind in kinds):
        return None
    return sum(used[kind] * float(prices[kind]) for kind in kinds) / TOKENS


def _waits_for(state: TaskState, loading: str, told: Mapping[str, object]) -> str:
    if state.job and state.job.waiting:
        return f"in the queue: {state.job.reason}"
    if state.state in ("pending", "interrupted", "running") and loading and not state.samples:
        return loading
    if state.state == "pending":
        return state.cause or "waits for its turn"
    if state.state != "running" or state.samples:
        return ""
    if (state.elapsed or 0) < STARTS:
        return "starting"
    has_asked = state.requests is None or bool(told)
    return "" if has_asked else f"loading: nothing was asked yet, after {int(state.elapsed or 0)} s"


def server_that_loads(run: RunPaths) -> str:
    """The server of a run that is on its way, in words; empty where none is."""
    for paths in deployments_of(run):
        if record_of(paths).get("state") == "starting" and supervisor_of(paths):
            return f"the server '{paths.dir.name}' is loading"
    return ""


def expected_in(log: Path | None) -> int | None:
    """The samples that a harness's own bar counts up to, from the end of its log."""
    if log is None:
        return None
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    found = BAR.findall(text)
    return int(found[-1][1]) if found else None
