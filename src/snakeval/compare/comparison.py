"""Compares two runs, benchmark by benchmark, on the samples that both have answered.

A benchmark whose questions are not the same in both runs is refused with the reason, and hides no
other one. p values are corrected by Holm over all scores that were tested.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from snakeval.compare import statistics
from snakeval.compare.pairs import TEXTS, NotComparable, Pairs, means_of, pairs, samples_of
from snakeval.compare.statistics import CONFIDENCE, Difference
from snakeval.config.secrets import without
from snakeval.errors import InputError, Problem, count
from snakeval.job.files import mapping_in, now, read_json, write_atomically
from snakeval.job.scores import is_mean
from snakeval.job.text import one_line
from snakeval.plan.identity import HOW_NOT_WHAT
from snakeval.plan.run import Run, Task
from snakeval.results.clusters import of_repeats
from snakeval.results.published import DEFINITION_CHANGED, repeats_of
from snakeval.results.samples import write_samples
from snakeval.results.tables import bring_up_to_date, rows
from snakeval.run_folder.records import task_state

if TYPE_CHECKING:
    import pandas as pd

ANSWERS_NOT_QUESTIONS = (*HOW_NOT_WHAT, "temperature", "top_p", "max_new_tokens")
"""Parameters that change what the model says, not what it is asked."""

TEXT_LENGTH = 300
FLIPS_WITH_TEXT = 200
NO_CONFIG = ("execution.output_dir", "export")
"""Keys that say where results go."""


@dataclass(frozen=True)
class Flip:
    """A sample that one run got right and the other wrong; texts are the first characters."""

    subtask: str | None
    sample: str
    base: float
    candidate: float
    prompt: str | None = None
    base_answer: str | None = None
    candidate_answer: str | None = None


@dataclass(frozen=True)
class Part:
    """A subtask under one score: told beside the score of the whole, which alone is decided on.

    p_holm    corrected for the parts of this score
    """

    subtask: str
    n: int
    base: float
    candidate: float
    difference: Difference
    p_holm: float | None = None


@dataclass(frozen=True)
class Compared:
    """One score in both runs: candidate minus base, of the same n samples.

    better    higher, lower or unknown: what a better model's score is
    filter    how answers were extracted, or the score's name; None: there is one only
    won, lost samples that only the candidate, only the base got right; None: not right or wrong
    p_holm    corrected for all scores of the comparison
    parts     the subtasks, where there are several
    """

    task: str
    group: str | None
    subtask: str | None
    metric: str
    filter: str | None
    n: int | None
    base: float
    candidate: float
    difference: Difference
    better: str = "unknown"
    p_holm: float | None = None
    won: int | None = None
    lost: int | None = None
    unscored: int = 0
    flips: tuple[Flip, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def name(self) -> str:
        """`exact_match (strict-match)`."""
        name = f"{self.metric} ({self.filter})" if self.filter else self.metric
        part = self.subtask or self.group
        return f"{part}: {name}" if part else name

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, `no difference seen` (after correction), or `not testable`."""
        if self.p_holm is None:
            return "not testable"
        if self.p_holm >= 1 - CONFIDENCE:
            return "no difference seen"
        return "higher" if self.difference.value > 0 else "lower"

    @property
    def meaning(self) -> str:
        """The verdict as `better` or `worse`, where it is known which way is better."""
        if self.verdict not in ("higher", "lower") or self.better == "unknown":
            return self.verdict
        return "better" if self.verdict == self.better else "worse"


@dataclass(frozen=True)
class Refused:
    """A benchmark that is not compared, and why."""

    task: str
    reason: str


@dataclass(frozen=True)
class Changed:
    """What is not the same in the two runs; None: not there."""

    key: str
    base: Any
    candidate: Any


@dataclass(frozen=True)
class Comparison:
    base: str
    candidate: str
    base_model: str
    candidate_model: str
    scores: tuple[Compared, ...]
    refused: tuple[Refused, ...]
    changed: tuple[Changed, ...]
    notes: tuple[str, ...] = ()
    suites: tuple[Compared, ...] = ()

    @property
    def headline(self) -> str:
        """`3 scores: 1 better, 0 worse, 2 no difference seen; pooled ...`."""
        counted = Counter(score.meaning for score in self.scores)
        always = ("better", "worse", "no difference seen")
        names = dict.fromkeys([*always[:2], "higher", "lower", always[2], "not testable"])
        told = [f"{counted[name]} {name}" for name in names if counted[name] or name in always]
        return f"{count(len(self.scores), 'score')}: {', '.join(told)}{self._pooled}"

    @property
    def _pooled(self) -> str:
        """Over the first score of each benchmark, between 0 and 1, each counting alike."""
        first = {score.task: score for score in reversed(self.scores)}.values()
        known = [
            score
            for score in first
            if score.difference.interval
            and min(score.base, score.candidate) >= 0
            and max(score.base, score.candidate) <= 1
            and score.better != "lower"
        ]
        if len(known) < 2:
            return ""
        mean, (low, high) = statistics.pooled([score.difference for score in known])
        return (
            f"; pooled over {len(known)} benchmarks {mean:+.4f}, "
            f"95% interval {low:+.4f} to {high:+.4f}"
        )

    def content(self) -> dict[str, Any]:
        """The comparison as its JSON file holds it."""
        return {
            "written": now(),
            "confidence": CONFIDENCE,
            "headline": self.headline,
            **asdict(self),
        }


def compare(base: Run, candidate: Run) -> Comparison:
    """Compares two runs. Raises InputError where there is nothing to compare."""
    if base.paths.dir.resolve() == candidate.paths.dir.resolve():
        raise InputError(
            [Problem("--config candidate", "is the same run as base", "name two different runs")]
        )
    ours = {task.name: task for task in base.tasks}
    theirs = {task.name: task for task in candidate.tasks}
    if not ours.keys() & theirs.keys():
        raise InputError(
            [
                Problem(
                    "--config base, candidate",
                    f"the runs have no benchmark in common: {', '.join(ours)} against "
                    + ", ".join(theirs),
                    "compare runs of the same benchmarks",
                )
            ]
        )
    for run in (base, candidate):
        _bring_up_to_date(run)
    scored = {run: _rows_by_task(run) for run in (base, candidate)}
    scores: list[Compared] = []
    refused: list[Refused] = []
    notes = _told(base, candidate)
    for name in dict.fromkeys([*ours, *theirs]):
        try:
            one, other = _both(ours.get(name), theirs.get(name))
            found = list(
                _compare_task(
                    (base, one, scored[base].get(name, [])),
                    (candidate, other, scored[candidate].get(name, [])),
                    notes,
                )
            )
            if not found:
                raise NotComparable("the runs have no score in common")
            scores += found
        except NotComparable as reason:
            refused.append(Refused(name, str(reason)))
        except Exception as error:  # whatever one benchmark holds, the others are compared
            refused.append(Refused(name, one_line(f"{type(error).__name__}: {error}")))
    return Comparison(
        base.paths.id,
        candidate.paths.id,
        str(base.identity["model_id"]),
        str(candidate.identity["model_id"]),
        tuple(_corrected(scores)),
        tuple(refused),
        tuple(changes(base, candidate)),
        tuple(dict.fromkeys(notes)),
    )


def _told(base: Run, candidate: Run) -> list[str]:
    """What is to be said of the runs themselves."""
    return [
        f"{task.name} of {which}: {DEFINITION_CHANGED}"
        for which, run in (("base", base), ("candidate", candidate))
        for task in run.tasks
        if task.definition_changed
    ]


def write(comparison: Comparison, run: Run) -> None:
    """Puts the comparison into the candidate's run folder."""
    path = run.paths.comparison(comparison.base)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(comparison.content(), indent=1, default=str) + "\n")


def _bring_up_to_date(run: Run) -> None:
    bring_up_to_date(run)
    try:
        write_samples(run)
    except OSError as error:
        raise InputError(
            [
                Problem(
                    str(run.paths.samples),
                    f"cannot be brought up to date: {error.strerror}",
                    "copy the run folder to a place where it can be written",
                )
            ]
        ) from None


def _rows_by_task(run: Run) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows(run):
        if row["state"] == "published":
            found.setdefault(row["task"], []).append(row)
    return found


def _both(base: Task | None, candidate: Task | None) -> tuple[Task, Task]:
    """The task in both runs, published and with the same questions as far as the config tells."""
    if base is None or candidate is None:
        raise NotComparable(f"only the {'candidate' if base is None else 'base'} has it")
    for which, task in (("base", base), ("candidate", candidate)):
        state = task_state(task.paths, task.digest)
        if state.state != "published":
            cause = f": {state.cause}" if state.cause else ""
            raise NotComparable(f"no result in {which} ({state.state}{cause})")
    one, other = base.identity, candidate.identity
    for key, what in (("benchmark", "benchmark"), ("dataset", "dataset revision")):
        if one[key] != other[key]:
            raise NotComparable(f"another {what}: {one[key]} in base, {other[key]} in candidate")
    if _files(one) != _files(other):
        raise NotComparable("another revision of the files that define the benchmark")
    return base, candidate


def _files(identity: dict[str, Any]) -> Any:
    return (identity["definition"] or {}).get("files")


Side = tuple[Run, Task, list[dict[str, Any]]]


def _compare_task(base: Side, candidate: Side, notes: list[str]) -> Iterator[Compared]:
    """`notes`: gets what a reader of the comparison must be told."""
    name = base[1].name
    one, other = samples_of(*base[:2]), samples_of(*candidate[:2])
    if one is None or other is None or not (_hashed(one) and _hashed(other)):
        _same_questions_asked(base[1], candidate[1])
    covered = set()
    if one is not None and other is not None:
        for each in pairs(one, other):
            differs = _not_published(each, (one, base[2]), (other, candidate[2]))
            if differs is None:
                covered.add((each.metric, each.filter or each.metric))
                yield _paired(name, each, base, candidate)
            elif differs:
                notes.append(f"{name} {differs}; decided from the published values and errors")
    theirs = {_score_key(row): row for row in candidate[2]}
    for row in base[2]:
        same = theirs.get(_score_key(row))
        if same is None or (row["metric"], _plain(row["score"], row["metric"])) in covered:
            continue
        if row["n"] != same["n"] or row["scored"] != same["scored"]:
            raise NotComparable(
                f"another sample set: {row['n'] or row['scored']} samples in base, "
                f"{same['n'] or same['scored']} in candidate"
            )
        yield _unpaired(name, row, same, repeats_of(base[1]), notes)


def _not_published(pair: Pairs, *sides: tuple[pd.DataFrame, list[dict[str, Any]]]) -> str | None:
    """Why single samples decide nothing under a metric: None where their mean is what is published,
    empty where nothing is published under its name."""
    for frame, found in sides:
        named = [row for row in found if _is_of(row, pair)]
        if not named:
            return ""
        means = means_of(frame, pair.metric, pair.filter)
        wholes = [row for row in named if row["subtask"] is None]
        for row in wholes[:1] or named:
            mean = means.get(row["subtask"])
            if mean is None or not is_mean(row["value"], mean):
                of_samples = "not known" if mean is None else f"{mean:.4g}"
                return (
                    f"{pair.metric} is {row['value']:.4g}, and the mean of its samples {of_samples}"
                )
    return None


def _is_of(row: dict[str, Any], pair: Pairs) -> bool:
    score = _plain(row["score"], row["metric"])
    return bool(row["metric"] == pair.metric and score == (pair.filter or pair.metric))


def _better(rows: Iterable[dict[str, Any]]) -> str:
    """Which way a score is better, where all rows that say it agree."""
    said = {row["better"] for row in rows} - {"unknown", None}
    return said.pop() if len(said) == 1 else "unknown"


def _hashed(frame: pd.DataFrame) -> bool:
    return bool(frame["prompt_hash"].notna().all())


def _plain(score: str | None, metric: str) -> str:
    """The filter in results.csv; `none` is lm-eval's word for no filter."""
    return metric if score in (None, "none") else str(score)


def _score_key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["group"], row["subtask"], row["metric"], row["score"]


def _same_questions_asked(base: Task, candidate: Task) -> None:
    """Where no prompts are known, nothing that could change them may differ."""
    one, other = (
        {
            **{f"params.{key}": value for key, value in flat(task.identity["params"])},
            **{
                f"definition.{key}": value for key, value in flat(task.identity["definition"] or {})
            },
            "image": task.identity["image"],
        }
        for task in (base, candidate)
    )
    differ = [
        key
        for key in dict.fromkeys([*one, *other])
        if one.get(key) != other.get(key) and key.partition(".")[2] not in ANSWERS_NOT_QUESTIONS
    ]
    if differ:
        told = ", ".join(f"{key} ({one.get(key)} / {other.get(key)})" for key in differ)
        raise NotComparable(f"no prompts are known, and these may have changed them: {told}")


def _paired(name: str, found: Pairs, base: Side, candidate: Side) -> Compared:
    difference = statistics.paired(found.base, found.candidate, found.questions)
    binary = set(found.base) | set(found.candidate) <= {0.0, 1.0}
    gap = found.candidate - found.base
    flipped = [
        Flip(*found.samples[index], float(found.base[index]), float(found.candidate[index]))
        for index in gap.nonzero()[0]
    ]
    if not binary:  # scores of any size nearly all change a little; the largest changes first
        flipped = sorted(flipped, key=lambda flip: -abs(flip.candidate - flip.base))
        flipped = flipped[:FLIPS_WITH_TEXT]
    return Compared(
        name,
        None,
        None,
        found.metric,
        found.filter,
        len(gap),
        float(found.base.mean()),
        float(found.candidate.mean()),
        difference,
        _better(row for side in (base, candidate) for row in side[2] if _is_of(row, found)),
        won=int((gap > 0).sum()) if binary else None,
        lost=int((gap < 0).sum()) if binary else None,
        unscored=found.unscored,
        flips=tuple(_with_texts(flipped, found, base, candidate)),
        parts=_parts(found),
    )


def _parts(found: Pairs) -> tuple[Part, ...]:
    """Every subtask by itself; none where there is one only."""
    places: dict[str, list[int]] = {}
    for index, (subtask, _) in enumerate(found.samples):
        places.setdefault(subtask or "", []).append(index)
    if len(places) < 2:
        return ()
    parts = []
    for subtask, at in places.items():
        base, candidate = found.base[at], found.candidate[at]
        difference = statistics.paired(base, candidate, [found.questions[index] for index in at])
        means = float(base.mean()), float(candidate.mean())
        parts.append(Part(subtask, len(at), *means, difference))
    return tuple(_corrected(parts))


def _with_texts(flips: list[Flip], found: Pairs, base: Side, candidate: Side) -> Iterator[Flip]:
    """The first flips with what was asked and answered."""
    if not flips:
        return
    texts = []
    for run, task, _ in (base, candidate):
        frame = samples_of(run, task, TEXTS)
        assert frame is not None, "pairs come from samples"
        frame = frame[(frame["repeat"] == 0) & (frame["metric"] == found.metric)]
        frame = frame[frame["filter"].fillna("") == (found.filter or "")].fillna({"subtask": ""})
        texts.append(frame.drop_duplicates(["subtask", "sample"]).set_index(["subtask", "sample"]))
    for number, flip in enumerate(flips):
        key = (flip.subtask or "", flip.sample)
        if number >= FLIPS_WITH_TEXT or any(key not in frame.index for frame in texts):
            yield flip
            continue
        one, other = (frame.loc[[key]].iloc[0] for frame in texts)
        yield replace(
            flip,
            prompt=_clipped(one["prompt"]),
            base_answer=_clipped(one["answer"]),
            candidate_answer=_clipped(other["answer"]),
        )


def _clipped(text: Any) -> str | None:
    if not isinstance(text, str):
        return None
    return text if len(text) <= TEXT_LENGTH else text[:TEXT_LENGTH] + " ..."


def _unpaired(
    name: str,
    base: dict[str, Any],
    candidate: dict[str, Any],
    repeats: int,
    notes: list[str],
) -> Compared:
    score = None if base["score"] in (None, "none", base["metric"]) else base["score"]
    better = _better((base, candidate))
    errors = []
    for row in (base, candidate):
        stderr, n = of_repeats(row["stderr"], row["n"], repeats)
        cautious = statistics.cautious_stderr(row["value"], n, *_ends(base, candidate, better))
        errors.append((stderr, cautious if stderr is None else None))
    difference = statistics.unpaired(
        base["value"],
        errors[0][0] if errors[0][0] is not None else errors[0][1],
        candidate["value"],
        errors[1][0] if errors[1][0] is not None else errors[1][1],
    )
    if difference.p is not None and any(cautious for _, cautious in errors):
        difference = replace(difference, kind="cautious")
        notes.append(
            f"{name} {base['metric']} has no standard error; a cautious one is taken, of "
            f"{base['n']} answers"
        )
    return Compared(
        name,
        None if base["group"] == name else base["group"],
        base["subtask"],
        base["metric"],
        score,
        base["n"],
        base["value"],
        candidate["value"],
        difference,
        better,
    )


def _ends(
    base: dict[str, Any], candidate: dict[str, Any], better: str
) -> tuple[float | None, float | None]:
    """The range of a score: as it is known, else 0 to 1 where both lie in it and more is better."""
    if base["lowest"] is not None and base["highest"] is not None:
        return base["lowest"], base["highest"]
    share = better == "higher" and all(0 <= row["value"] <= 1 for row in (base, candidate))
    return (0.0, 1.0) if share else (None, None)


Tested = TypeVar("Tested", Compared, Part)


def _corrected(scores: list[Tested]) -> Iterator[Tested]:
    ps = iter(
        statistics.holm([score.difference.p for score in scores if score.difference.p is not None])
    )
    for score in scores:
        yield score if score.difference.p is None else replace(score, p_holm=next(ps))


# ---------------------------------------------------------------- what else differs


def changes(base: Run, candidate: Run) -> Iterator[Changed]:
    """What differs in config, images and versions."""
    one, other = dict(_described(base)), dict(_described(candidate))
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            yield Changed(key, one.get(key), other.get(key))


def _described(run: Run) -> Iterator[tuple[str, Any]]:
    raw = json.loads(json.dumps(without(run.raw, run.secrets), default=str))
    tasks = raw.get("evaluation", {}).pop("tasks", [])
    for key, value in flat(raw):
        if not key.startswith(NO_CONFIG):
            yield key, value
    for entry, task in zip(tasks, run.tasks, strict=True):
        body = (
            {key: value for key, value in entry.items() if key != "name"}
            if isinstance(entry, dict)
            else {}
        )
        for key, value in flat(body):
            yield f"evaluation.tasks.{task.name}.{key}", value
    record = read_json(run.paths.record)
    images = mapping_in(record, "images")
    for task in run.tasks:
        if task.image:
            yield f"image of {task.name}", images.get(task.image, task.image)
    start = mapping_in(record, "last_start")
    yield "snakeval", mapping_in(start, "versions").get("snakeval")
    yield "git revision of the pipeline", start.get("revision")


def flat(content: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; lists are values."""
    for key, value in content.items():
        dotted = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict) and value:
            yield from flat(value, dotted)
        elif value not in (None, {}, []):
            yield dotted, value
