"""The check before publishing: does this work folder hold a result?

    python verify.py WORK_DIR --record RECORD_DIR --exit-code N [--log LOG]

ends with 0 when the result holds; else it says why in one sentence and ends with 1. The folder of
the record has what was asked for (check_spec.json), and gets what was found (check.json) with the
digests of the files that were read. The keeper calls it in its own process, from the run folder's
`lib/`, where a copy of it lies beside those of `result_formats/` (what the harnesses leave),
`harness_log.py` (what their logs tell) and `answer_cache.py` (where they keep answers), with
whatever Python there is: 3.9 or newer, PyYAML only where YAML must be read. The library imports it
to build its tables.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import answer_cache, causes, hostile, record
from .checked import content
from .files import is_full, write_atomically
from .gateway import told
from .gateway.accounts import UNREACHABLE, Account, accounts, asks_otherwise
from .gateway.ledger import MODEL
from .harness_log import UNREACHED, Log, listed, read_log
from .result_formats import (
    READERS,
    CheckFailed,
    Coverage,
    Results,
    Spec,
    check_repeats,
)
from .result_formats.files import load_json, mapping
from .result_formats.own_samples import expected_before
from .scores import held_against_samples, judged
from .text import one_line

__all__ = ["CheckFailed", "check", "forget_errors", "progress", "read_results"]

INTERRUPTED_MARKER = ".nemo_evaluator_interrupted"
SERVER_ERROR_MARKER = ".nemo_evaluator_server_error"

DISK_FULL_CAUSE = "the disk is full; free some space below the work folder and start again"


# ---------------------------------------------------------------- the check


def read_results(
    work_dir: Path | str, spec: Mapping[str, Any] | Spec, log: Log | None = None
) -> Results:
    """Read the scores and the coverage of a work folder.

    Raises CheckFailed where a file is missing, truncated or without a finite score, where the
    endpoint answered nothing, or where a cache has collapsed repeats.
    """
    wanted = Spec.of(spec)
    try:
        results = READERS[wanted.format](Path(work_dir), wanted, log)
    except hostile.Refused as refused:
        raise CheckFailed(f"the result is not read: {refused}") from refused
    except (sqlite3.Error, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckFailed(f"the result has another form than expected ({what})") from error
    if not results.scores:
        raise CheckFailed("the harness ended with a result file that has no score in it")
    return judged(results, wanted)


def check(
    work_dir: Path | str,
    spec: Mapping[str, Any] | Spec,
    exit_code: int = 0,
    logs: Iterable[Path] = (),
    forgotten: float = 0.0,
    asked: Mapping[str, Account] | None = None,
    is_whole: bool = False,
    killed_by: str = causes.NOT_SAID,
) -> Results:
    """Everything that must hold before a result is published; raises CheckFailed.

    logs       of the attempts on this work folder, this one's last
    forgotten  since when poisoned answers are forgotten, seconds since 1970
    asked      what the gateway knows of each endpoint, where there was one
    is_whole   whether it has seen all that the harness knows
    killed_by  evidence of who has killed the harness (`causes.KILLED`)
    """
    work_dir, wanted = Path(work_dir), Spec.of(spec)
    log = _read_logs(list(logs), forgotten)
    _tell_unreached(log, asked or {})
    if wanted.format == "nemo":
        _check_markers(work_dir)
    _check_exit(exit_code, log, wanted, killed_by)
    check_repeats(wanted.repeats, wanted, "the benchmark")
    try:
        results = read_results(work_dir, wanted, log)
    except CheckFailed as failed:
        # lm-eval only warns when it cannot write its results, and ends with exit code 0.
        raise CheckFailed(DISK_FULL_CAUSE) if log.disk_full else failed from failed
    if asked is not None and is_whole:
        notes = _not_as_counted(results, asked.get(MODEL), wanted)
        results = replace(results, notes=(*results.notes, *notes))
    results = _as_the_gateway_has_it(results, asked or {})
    _check_coverage(results.coverage, wanted, log)
    _check_servers_beside(results.coverage, wanted, asked or {})
    _check_one_model(wanted, asked or {})
    return held_against_samples(results, work_dir, wanted)


def _tell_unreached(log: Log, asked: Mapping[str, Account]) -> None:
    """Behind the gateway a harness is told 502 of an endpoint that could not be reached."""
    account = asked.get(MODEL)
    away = account.failures[UNREACHABLE] if account else 0
    if moved := min(away, log.statuses["502"]):
        log.statuses = log.statuses - Counter({"502": moved})
        log.without_status[UNREACHED] += moved


EQUAL_SAMPLES = 0.1
"""Share of a NeMo benchmark's samples that may be equal: its adapter, or the harness, asks once."""


def _not_as_counted(results: Results, account: Account | None, spec: Spec) -> list[str]:
    """What a harness itself says, beside the ledger."""
    scored, spared = results.coverage.scored, 0.0
    if spec.format == "nemo":
        spared = EQUAL_SAMPLES
        if results.coverage.expected is None:
            scored = None  # what it counts need not be samples
    return list(told.not_as_counted(account, scored, results.totals, spared))


def _as_the_gateway_has_it(results: Results, asked: Mapping[str, Account]) -> Results:
    """What the gateway saw is known, also where the harness keeps it to itself."""
    notes = [note for name, account in asked.items() for note in told.notes(name, account)]
    account = asked.get(MODEL)
    if account is None:
        return replace(results, notes=(*results.notes, *notes))
    coverage, known = results.coverage, account.unanswered
    if coverage.unanswered not in (None, known):
        notes.append(
            f"the harness counts {coverage.unanswered} samples without an answer, the gateway "
            f"{known} requests"
        )
    return replace(
        results,
        coverage=replace(coverage, unanswered=max(known, coverage.unanswered or 0)),
        totals={**results.totals, **told.totals(account)},
        notes=(*results.notes, *notes),
    )


def _check_one_model(spec: Spec, asked: Mapping[str, Account]) -> None:
    """A model that was swapped in the middle has no score."""
    account = asked.get(MODEL)
    if account and spec.check_model and (cause := told.several_models(account)):
        raise CheckFailed(cause)


def _check_servers_beside(coverage: Coverage, spec: Spec, asked: Mapping[str, Account]) -> None:
    """A judge that did not answer has not judged."""
    base = coverage.expected if coverage.expected is not None else coverage.scored
    for name, account in asked.items():
        if name != MODEL and account.unanswered > spec.max_unanswered * (base or 0):
            raise CheckFailed(_without_answer(name, account))


def _without_answer(name: str, account: Account) -> str:
    seen = listed(account.failures)
    return f"{account.unanswered} requests got no answer from '{name}' ({seen})"


def _with_judges(cause: str, asked: Mapping[str, Account]) -> str:
    """The cause, and which endpoints beside the model did not answer: it may be theirs."""
    silent = [
        _without_answer(name, account)
        for name, account in asked.items()
        if name != MODEL and account.unanswered
    ]
    return "; ".join([cause, *(each for each in silent if each not in cause)])


def _read_logs(paths: list[Path], since: float) -> Log:
    """This attempt's log; from those before only the poisoned answers not yet forgotten."""
    log = read_log(paths[-1] if paths else None)
    for path in paths[:-1]:
        if path.is_file() and path.stat().st_mtime > since:
            log.unparsed += read_log(path).unparsed
    return log


def _check_markers(work_dir: Path) -> None:
    """NeMo ends with exit code 0 when it was told to stop, and leaves a marker."""
    if hostile.is_there(work_dir, SERVER_ERROR_MARKER):
        said = " ".join(_said(work_dir, SERVER_ERROR_MARKER).split())
        raise CheckFailed(f"the endpoint failed: {said or 'no details given'}")
    if hostile.is_there(work_dir, INTERRUPTED_MARKER):
        found = re.search(r"SIG[A-Z]+", _said(work_dir, INTERRUPTED_MARKER))
        signal = f" ({found[0]})" if found else ""
        raise CheckFailed(f"the evaluation was interrupted{signal}; start it again to continue")


def _said(work_dir: Path, marker: str) -> str:
    """What a marker says, as far as it is one that can be read; at most 1,000 characters."""
    try:
        return hostile.text(work_dir, marker)[:1000]
    except OSError:
        return ""


def _check_exit(exit_code: int, log: Log, spec: Spec, killed_by: str) -> None:
    if exit_code == 0:
        return
    if log.disk_full:
        raise CheckFailed(DISK_FULL_CAUSE)
    cause = causes.of_harness(exit_code, log, spec.model_id, killed_by)
    raise CheckFailed(
        f"the harness ended with exit code {exit_code}: {cause.sentence}{_see(log)}", cause.lasting
    )


def _see(log: Log) -> str:
    return f" (see {log.name})" if log.name else ""


def _check_coverage(coverage: Coverage, spec: Spec, log: Log) -> None:
    expected, scored, unanswered = coverage.expected, coverage.scored, coverage.unanswered
    if expected is not None and scored is not None and scored != expected:
        if scored < expected:
            raise CheckFailed(f"only {scored} of {expected} samples were scored")
        raise CheckFailed(f"{scored} samples were scored, but only {expected} were asked for")
    if scored == 0:
        raise CheckFailed("no sample was scored")
    base = expected if expected is not None else scored
    if unanswered and unanswered > spec.max_unanswered * (base or 0):
        of = f" of {base}" if base and unanswered <= base else ""
        seen = f" ({listed(log.failures)})" if log.failures else ""
        allowed = f"at most {spec.max_unanswered:.1%}" if spec.max_unanswered else "none"
        are = "are allowed (max_unanswered)"
        raise CheckFailed(
            f"{unanswered}{of} samples got no answer from the endpoint{seen}; {allowed} {are}"
        )


# ---------------------------------------------------------------- answers on disk


def forget_errors(work_dir: Path | str, spec: Mapping[str, Any] | Spec, unparsed: int) -> bool:
    """Take errors that were cached as answers out of the cache, so that they are asked again.

    NeMo caches every status 200, also with an error inside. lm-eval keeps such an answer as an
    empty text, which only the log tells from an honest one (`unparsed` of them): all empty texts
    are asked again then, and when there is no other. In a NeMo image lm-eval has its cache too.
    Only for a harness that has ended. A cache that cannot be written stays as it is. Returns
    whether empty texts were forgotten.
    """
    work_dir, wanted = Path(work_dir), Spec.of(spec)
    try:
        if wanted.format == "nemo":
            answer_cache.forget_errors(work_dir)
        return wanted.format in ("nemo", "lm_eval") and answer_cache.forget_empty_texts(
            work_dir, even_some=unparsed > 0
        )
    except (OSError, ValueError, sqlite3.Error):
        return False


def progress(work_dir: Path | str, spec: Mapping[str, Any] | Spec) -> int | None:
    """Samples answered so far, from what the harness leaves while it runs; None if unknown.

    Where a sample takes several requests, it is the requests, at most the samples asked for.
    """
    try:
        wanted = Spec.of(spec)
        answered = _answered(Path(work_dir), wanted)
    except (CheckFailed, OSError, ValueError, sqlite3.Error):
        return None
    most = expected_before(wanted)
    return answered if answered is None or most is None else min(answered, most)


def expected(spec: Mapping[str, Any] | Spec) -> int | None:
    """Samples asked for, in the units of `progress`, before any is there; None if unknown."""
    try:
        return expected_before(Spec.of(spec))
    except (CheckFailed, ValueError, TypeError):
        return None


def _answered(work_dir: Path, spec: Spec) -> int | None:
    if spec.format == "lm_eval":
        return answer_cache.lm_eval_count(work_dir)
    if spec.format != "nemo":
        return None
    if spec.cached and answer_cache.is_there(work_dir, answer_cache.RESPONSES):
        return answer_cache.nemo_count(work_dir)
    return int(hostile.text(work_dir, "progress", most=100))


# ---------------------------------------------------------------- command line


def judge(
    work_dir: Path,
    record_dir: Path,
    exit_code: int,
    logs: list[Path],
    has_gateway: bool = False,
    changed: str = "",
    killed_by: str = causes.NOT_SAID,
) -> tuple[str | None, dict[str, Any]]:
    """The cause of a failure or None, and what check.json is to say. Nothing unexpected is a pass.

    Takes errors that were cached as answers out of the caches when the check has failed.

    has_gateway  whether the harness was behind one, whose ledger is in the record
    changed      why the answers may be of another model than asked for; empty: no reason
    killed_by    evidence of who has killed the harness (`causes.KILLED`)
    """
    try:
        spec = Spec.of(mapping(load_json(record_dir, record.SPEC)))
    except (CheckFailed, OSError, TypeError) as error:
        cause = one_line(f"the specification {record.SPEC} cannot be read: {error}")
        return cause, content(cause, None)
    forgotten, lasting = _since(record_dir / record.FORGOTTEN), False
    asked = accounts(record_dir, record.from_empty(record_dir)) if has_gateway else None
    known = asked or {}
    is_whole = record.is_behind_gateway(record_dir, map(_number_of, logs)) and (
        MODEL in known or not asks_otherwise(record_dir, MODEL)
    )
    try:
        if changed:
            _check_one_model(spec, known)  # says how many answers are of another one
            raise CheckFailed(changed)
        with hostile.noting() as names:
            results = check(work_dir, spec, exit_code, logs, forgotten, asked, is_whole, killed_by)
        without = told.without_gateway(record.without_gateway(record_dir))
        results = replace(results, notes=(*results.notes, *without))
        files = record.fingerprints(work_dir, _kept(names))
        return None, {**content(None, results), "files": files, **_in_accounts(known)}
    except CheckFailed as failed:
        cause, lasting = _with_judges(failed.cause, known), failed.lasting
    except Exception as error:
        said = f"{type(error).__name__}: {str(error)[:300]}"
        cause = DISK_FULL_CAUSE if is_full(error) else f"the check failed: {said}"
    if forget_errors(work_dir, spec, _read_logs(logs, forgotten).unparsed):
        with contextlib.suppress(OSError):
            (record_dir / record.FORGOTTEN).touch()
    cause = one_line(cause)
    report = {**content(cause, None), **_in_accounts(known)}
    return cause, {**report, "lasting": True} if lasting else report


def _number_of(log: Path) -> int:
    """The attempt whose log it is; 0 where its name does not say so."""
    return next((int(part) for part in log.name.split(".") if part.isdecimal()), 0)


def _in_accounts(asked: Mapping[str, Account]) -> dict[str, Any]:
    """The accounts of the gateway, where there was one."""
    return {"gateway": {name: each.as_json() for name, each in asked.items()}} if asked else {}


def _since(forgotten: Path) -> float:
    try:
        return forgotten.stat().st_mtime
    except OSError:
        return 0.0


def _kept(names: Iterable[str]) -> list[str]:
    """The files that a result stands on; not the caches, which `clean` may remove."""
    return [name for name in names if "cache" not in Path(name).parts[0]]


def settle(
    work_dir: Path,
    record_dir: Path,
    exit_code: int,
    logs: list[Path],
    has_gateway: bool = False,
    changed: str = "",
    killed_by: str = causes.NOT_SAID,
) -> str | None:
    """Checks a work folder and writes check.json: None when its result holds, else the cause."""
    cause, report = judge(work_dir, record_dir, exit_code, logs, has_gateway, changed, killed_by)
    try:
        text = json.dumps(report, indent=2) + "\n"
        write_atomically(record_dir / record.CHECK, text, durable=True)
    except OSError as error:
        said = error.strerror or error
        return cause or (
            DISK_FULL_CAUSE if is_full(error) else f"the check cannot be written: {said}"
        )
    return cause


def main(arguments: list[str] | None = None) -> int:
    """Check a work folder; 0 when its result holds, else 1 and the cause on standard output."""
    import argparse

    parser = argparse.ArgumentParser(description="Check an evaluation before it is published.")
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--record", type=Path, required=True, help="the task's record of this spec")
    parser.add_argument("--exit-code", type=int, required=True, help="of the harness")
    parser.add_argument(
        "--log",
        type=Path,
        action="append",
        default=[],
        help="log of an attempt on this folder; may be repeated, this attempt's last",
    )
    parser.add_argument("--gateway", action="store_true", help="the record has its ledger")
    options = parser.parse_args(arguments)
    cause = settle(
        options.work_dir, options.record, options.exit_code, options.log, options.gateway
    )
    if cause is None:
        return 0
    print(cause)
    return 1


if __name__ == "__main__":
    sys.exit(main())
