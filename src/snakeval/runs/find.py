"""Finding runs: by id or its beginning, from output folders and from the home folder's list."""

from __future__ import annotations

import sys
from pathlib import Path

from snakeval.errors import InputError, Problem, nearest
from snakeval.job.files import read_json
from snakeval.run_folder.layout import RUN_ID, RunPaths, run_configs_home, runs_in

LATEST = "latest"
"""In the place of an id: the run that was begun last."""


def known_runs(output_dirs: list[Path]) -> list[RunPaths]:
    """Every run that can be found, oldest first; each folder once."""
    found: dict[Path, RunPaths] = {}
    for folder in output_dirs:
        for run in runs_in(folder):
            found[run.dir.resolve()] = run
    for file in sorted(run_configs_home().glob("*.yaml")):
        listed = _listed(file)
        if listed and listed.record.exists():
            found.setdefault(listed.dir.resolve(), listed)
    return sorted(found.values(), key=lambda run: run.id)


def _listed(file: Path) -> RunPaths | None:
    """The run folder that a file in `$HOME/.nv-eval/run_configs` names in its first line."""
    if not RUN_ID.match(file.stem):
        return None
    try:
        with file.open(encoding="utf-8") as lines:
            first = lines.readline()
    except OSError:
        return None
    folder = first.removeprefix("# run folder: ").strip()
    return RunPaths(Path(folder)) if first.startswith("# run folder: ") else None


def find_run(prefix: str, output_dirs: list[Path], key: str = "--config run") -> RunPaths:
    """The one run whose id begins (or whose 8 hex digits begin) so, or whose folder it is.

    key  what the person has written it under, for messages
    `latest` is told with what it stands for.
    Raises InputError where there is none or more than one.
    """
    folder = Path(prefix)
    if RUN_ID.match(folder.name) and (folder / "run.json").exists():
        return RunPaths(folder)
    if prefix == LATEST and (last := _latest_known(output_dirs)):
        _tell(f"{key.removeprefix('--config ')}: the latest run is {last[-1].id}")
        return last[-1]
    # The same run in two places (it was copied): the one in the output folder comes first.
    runs = list({run.id: run for run in reversed(known_runs(output_dirs))}.values())
    found = [run for run in runs if run.id.startswith(prefix) or run.id[-8:].startswith(prefix)]
    # A new run of the same config must not make the digits ambiguous that were printed before.
    same = {run.id[-8:] for run in found if run.id[-8:].startswith(prefix)}
    if len(found) == 1 or (len(same) == 1 and all(run.id[-8:] in same for run in found)):
        return max(found, key=lambda run: run.id)
    if not found:
        raise InputError(
            [
                Problem(
                    key,
                    f"there is no run '{prefix}'",
                    nearest(prefix, [run.id for run in runs]) or "`snakemake ls_runs` lists them",
                )
            ]
        )
    raise InputError(
        [
            Problem(
                key,
                f"'{prefix}' is the beginning of several runs",
                "write more of one of " + ", ".join(run.id for run in found),
            )
        ]
    )


def chosen_runs(prefix: str | None, folders: list[Path], output_dirs: list[Path]) -> list[RunPaths]:
    """The runs a utility target is about: `run=`, else the config's, else the latest one of the
    output folders. Where these hold none, it is the latest of this account, which is told.

    Raises InputError where there is none.
    """
    if prefix and not (prefix == LATEST and folders):
        return [find_run(prefix, output_dirs)]
    existing = [RunPaths(folder) for folder in folders if (folder / "run.json").exists()]
    if existing:
        return existing
    if folders:
        raise InputError(
            [
                Problem(
                    "",
                    "nothing has been evaluated with this config yet",
                    "evaluate first: snakemake --profile profiles/local --configfile ...",
                )
            ]
        )
    last = _latest_known(output_dirs)
    if not last:
        raise InputError(
            [
                Problem(
                    "",
                    "there is no run yet",
                    "evaluate first: snakemake --profile profiles/local --configfile ...",
                )
            ]
        )
    return last


def _latest_known(output_dirs: list[Path]) -> list[RunPaths]:
    """The latest run of the output folders, whatever was started elsewhere since then; where they
    hold none, that of this account; none: there is none at all."""
    here = [run for folder in output_dirs for run in runs_in(folder)]
    if here:
        return latest(sorted(here, key=lambda run: run.id))
    last = latest(known_runs(output_dirs))
    if last:
        folders = ", ".join(map(str, output_dirs)) or "no folder"
        _tell(
            f"there is no run in {folders}: this is about the latest one elsewhere, {last[-1].dir}"
        )
    return last


def _tell(sentence: str) -> None:
    """Beside the answer, which may be read by a program."""
    print(sentence, file=sys.stderr)


def latest(runs: list[RunPaths]) -> list[RunPaths]:
    """The last run; of a sweep all that began with it.

    runs  oldest first
    """
    with_it = read_json(runs[-1].record).get("sweep") if runs else None
    names = with_it if isinstance(with_it, list) else []
    own = [run for run in runs if run.id in names and run.dir.parent == runs[-1].dir.parent]
    return own or runs[-1:]
