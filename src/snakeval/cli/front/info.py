"""`snakeval info`: what a run is, and where everything of it is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from snakeval.cli.front.verb import Verb, asked_there, elsewhere, takes_runs, words_of_runs
from snakeval.job.files import mapping_in, read_json
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.records import TaskState, run_states
from snakeval.runs.find import chosen_runs
from snakeval.terminal import Terminal


def facts(run: RunPaths) -> Iterator[tuple[str, Any]]:
    """What a run's record says, and its files, as far as they are there."""
    record = read_json(run.record)
    identity, last = mapping_in(record, "identity"), mapping_in(record, "last_start")
    yield "name", record.get("name")
    yield "model", identity.get("model_id")
    yield "created", record.get("created")
    if last:
        yield "last start", f"{last.get('time')} on {last.get('host')} by {last.get('user')}"
        versions = mapping_in(last, "versions").items()
        yield "versions", ", ".join(f"{name} {version}" for name, version in versions)
    for image, pinned in mapping_in(record, "images").items():
        yield "image", f"{image} = {pinned}"
    for name, path in (
        ("folder", run.dir),
        ("config", run.config),
        ("by hand", run.run_all),
        ("tables", run.results_csv),
        ("samples", run.samples),
        ("report", run.report),
    ):
        yield name, path if path.exists() else None


def places(run: RunPaths, state: TaskState) -> Iterator[str]:
    """A benchmark, and where its result and its log are."""
    yield f"{state.shown}: {state.state}"
    for path in (run.task(state.name).artifacts, run.task(state.name).script, state.log):
        if path and path.exists():
            yield f"    {path}"


def main(given: argparse.Namespace) -> int:
    """Prints it for every run that is named."""
    from snakeval.cli.entry import RUNS, parser_of

    if notes := elsewhere(given):
        return asked_there(notes, "info", [])
    console = Terminal()
    for words in words_of_runs(given):
        chosen = parser_of(None, *RUNS).parse_args(words)
        for run in chosen_runs(chosen.run, chosen.folder, chosen.output_dir):
            console.say(run.id, style="bold")
            for name, value in facts(run):
                if value:
                    console.say(f"{name + ':':<12} {value}")
            for state in run_states(run):
                for line in places(run, state):
                    console.say(line)
    return 0


INFO = Verb(takes_runs, main)
