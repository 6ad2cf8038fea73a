"""A start from a machine that is not on the cluster: looks at the login node, sees to it that the
pipeline is there, brings the config, and starts it there as a job of its own."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snakeval import __version__
from snakeval.config.overrides import RESERVED
from snakeval.errors import InputError, Problem
from snakeval.executors.login import CONTROLLER_AS_JOB, Login
from snakeval.plan.code import REVISION, ROOT, code_digest, in_words, revision
from snakeval.plan.run import Run
from snakeval.remote.notes import Note, output_folder
from snakeval.remote.parcel import LEFT_OUT, filled, parcel_of
from snakeval.remote.ssh import Connection
from snakeval.remote.there import MARK, answer_in

NEEDED_MB = 1500
"""Free space that the pipeline's environment takes, roughly."""

SENT = (
    *("Snakefile", "Makefile", "pyproject.toml", "README.md", "LICENSE", "requirements.lock"),
    *("requirements-setup.lock", "requirements-dev.lock", "rules", "scripts", "src", "profiles"),
    *("config", "docs"),
)
"""What of a clone is needed to run it."""

VARIABLES = "a file .env (NAME=value lines, chmod 600) in {folder} there, or your profile there"


@dataclass(frozen=True)
class Wish:
    """What a person has asked for.

    files, values    of the config, and of `--config`
    words            for snakeval on the login node: profile, and what snakemake itself takes
    agrees           asked before a clone is made, with what it comes to
    """

    files: Sequence[Path]
    values: Mapping[str, Any]
    words: Sequence[str]
    dry_run: bool
    agrees: Callable[[str], bool]


@dataclass(frozen=True)
class Found:
    """What the look at the login node has found."""

    python: str
    rsync: bool
    make: bool
    clone: bool
    ready: bool
    free_mb: int | None
    unset: Collection[str]
    open_env: bool


def begin(login: Login, wish: Wish, runs: Iterable[Run]) -> int:
    """The exit code. Raises InputError."""
    parcel = parcel_of(wish.files, wish.values)
    there = Connection(login)
    found = _look(there, wanted(runs))
    _refuse(login, found, wish.dry_run)
    if not found.ready:
        _make_clone(there, found, wish)
    else:
        _compare(there)
    _say(f"bringing {', '.join(map(str, wish.files))} to {login.target}")
    left_out = [f"--exclude={name}" for name in LEFT_OUT]
    with parcel.packed() as place:
        options = ("--delete", "--copy-dirlinks", "--copy-unsafe-links", *left_out)
        there.bring_contents(place, login.place(wish.files), *options)
    return _start(there, wish)


def wanted(runs: Iterable[Run]) -> set[str]:
    """The variables that must be set where a run is started; of this machine none is sent."""
    names: set[str] = set()
    for run in runs:
        for task in run.tasks:
            names |= {each.wanted_here or "" for each in task.env_vars.values()}
            if not task.endpoint.of_place:
                names.add(task.endpoint.api_key_name or "")
        names.add(run.config.execution.notify.webhook or "")
    return names - {""}


# --- looking --------------------------------------------------------------------------------------

_LOOK = """\
cd && if [ -d {folder} ]; then cd {folder}; else echo 'look new'; fi
if [ -f .env ]; then
    [ -z "$(find .env -perm /077)" ] || echo 'look open'
    set -a; . ./.env; set +a
fi
for each in python3.14 python3.13 python3.12 python3.11 python3; do
    "$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    echo "look python $each"; break
done
! command -v rsync >/dev/null || echo 'look rsync'
! command -v make >/dev/null || echo 'look make'
[ ! -e {clone} ] || echo 'look clone'
[ ! -e {clone}/.venv/run ] || echo 'look ready'
df -Pk . | awk 'NR == 2 {{ print "look free " int($4 / 1000) }}'
for each in {names}; do [ -n "${{!each+x}}" ] || echo "look unset $each"; done
echo 'look done'
"""


def _look(there: Connection, names: Collection[str]) -> Found:
    login = there.login
    script = _LOOK.format(
        folder=shlex.quote(login.folder),
        clone=shlex.quote(login.clone),
        names=shlex.join(sorted(names)),
    )
    said = there.checked(script, "a look at it")
    seen = [line.split()[1:] for line in said.lines if line.startswith("look ")]
    if ["done"] not in seen:
        what, fix = "its shell runs no commands of ours", "bash must be there, its profile must end"
        raise InputError([Problem(login.target, what, fix)])
    told = {words[0]: words[-1] for words in seen}
    return Found(
        python=told.get("python", ""),
        rsync="rsync" in told,
        make="make" in told,
        clone="clone" in told,
        ready="ready" in told,
        free_mb=int(told["free"]) if told.get("free", "").isdigit() else None,
        unset=[words[1] for words in seen if words[0] == "unset"],
        open_env="open" in told,
    )


def _refuse(login: Login, found: Found, dry_run: bool) -> None:
    """Raises InputError with everything that keeps a start from going on."""
    problems = []
    target, env = login.target, VARIABLES.format(folder=login.folder)
    if not found.rsync:
        problems.append(Problem(target, "has no rsync", "ask those who run it"))
    for name in found.unset:
        what = f"the variable {name} is not set there, and values of this machine are not sent"
        problems.append(Problem(target, what, f"set it in {env}", warning=dry_run))
    if found.open_env:
        what = f"others may read {login.folder}/.env there"
        problems.append(Problem(target, what, f"ssh {target} chmod 600 {login.folder}/.env"))
    if login.own and not found.clone:
        fix = "correct execution.login_clone; without it the first start makes one"
        problems.append(Problem(target, f"there is no clone {login.own}", fix))
    elif login.own and not found.ready:
        fix = f"ssh {target} 'cd {login.own} && make .venv/run'"
        problems.append(Problem(target, f"the clone {login.own} has no environment", fix))
    elif not found.ready:
        problems += _against_a_clone(login, found)
    if against := [each for each in problems if not each.warning]:
        raise InputError(against)
    for problem in problems:
        _say(str(problem))


def _against_a_clone(login: Login, found: Found) -> Iterable[Problem]:
    """What keeps a clone from being made."""
    target = login.target
    if not found.python:
        fix = f"`module load python` in your profile there; `ssh {target} bash -lc python3.11`"
        yield Problem(target, "has no Python 3.11 or newer on its PATH", f"{fix} must find it")
    if not found.make:
        yield Problem(target, "has no make on its PATH", "`module load` it in your profile there")
    if found.free_mb is not None and found.free_mb < NEEDED_MB:
        what = f"its disk is full: {found.free_mb} MB free, and the pipeline takes {NEEDED_MB}"
        fix = "make room there, or name another folder: execution.login_folder"
        yield Problem(target, what, fix)


# --- the pipeline there ---------------------------------------------------------------------------


def _make_clone(there: Connection, found: Found, wish: Wish) -> None:
    """Copies this clone there, and makes its environment as the README does. Raises InputError."""
    login = there.login
    place = f"{login.folder}/{login.clone}"
    command = f"make PYTHON={found.python} .venv/run"
    question = (
        f"There is no snakeval {in_words()} on {login.target} yet. Make it there, in {place} "
        f"(a copy of {ROOT}, then `{command}`)?"
    )
    if not wish.agrees(question):
        fix = "`snakeval run --yes ...` makes it; execution.login_clone names one that is there"
        what = f"there is no snakeval {in_words()} there yet, and nothing was made"
        raise InputError([Problem(login.target, what, fix)])
    _say(f"copying snakeval to {login.target}:{place}")
    left_out = [f"--exclude={name}" for name in (*LEFT_OUT, "*.egg-info")]
    there.bring([ROOT / name for name in SENT], login.clone, *left_out)
    commit = shlex.quote(revision() or "")
    make = f"cd {login.clone} && printf '%s\\n' {commit} > {REVISION} && {command}"
    _say(f"{command} (some minutes)")
    said = there.ask(login.entered(make), shown=_say)
    if said.code != 0:
        raise InputError([there.problem(said, f"`{command}` in {place}")])


def _compare(there: Connection) -> None:
    """Says where the pipeline there is another one. Raises InputError for another version."""
    login = there.login
    if not login.own:
        return  # its name says what it is
    said = there.ask(f"{login.python} -m snakeval.remote.there about")
    about = answer_in(said.lines) or {}
    if about.get("version") != __version__:
        found = about.get("version", "of an older version")
        what = f"the clone {login.own} there is snakeval {found}"
        fix = f"bring it to {__version__}, or leave out execution.login_clone"
        raise InputError([Problem(login.target, f"{what}, and here is {__version__}", fix)])
    if about.get("code") != code_digest():
        _say(
            f"note: the clone {login.own} there ({about.get('code')}) and this one "
            f"({code_digest()}) differ; what runs is the one there"
        )


# --- starting -------------------------------------------------------------------------------------


def _start(there: Connection, wish: Wish) -> int:
    login = there.login
    config = login.config(wish.files)
    values = _for_there(wish)
    overrides = [f"{key}={value}" for key, value in values.items()]
    run = [login.snakeval, "run", "--config", config, *(["-n"] if wish.dry_run else [])]
    run += [word for each in overrides for word in ("-o", each)]
    run += [] if wish.dry_run else ["-o", CONTROLLER_AS_JOB]
    asked = {key: value for key, value in values.items() if key != "new_run"}
    ask = [login.python, "-m", "snakeval.remote.there", "runs", config, json.dumps(asked)]
    script = f"{shlex.join([*run, *wish.words])} </dev/null; code=$?"
    if not wish.dry_run:
        script += f"; {shlex.join(ask)}"
    said = there.ask(login.entered(f"{script}; exit $code"), shown=_without_mark)
    for note in _noted(answer_in(said.lines) or [], login, wish):
        note.write()
        _say(f"run {note.run} is on {login.target}, in {note.dir}")
    if said.code == 0 and not wish.dry_run:
        _say("from here: snakeval status, snakeval logs -t TASK, snakeval kill RUN, snakeval fetch")
    return said.code


def _for_there(wish: Wish) -> dict[str, Any]:
    """The values that still have to be said there: the others are in the config that was brought.
    In a sweep they also win over what a model's entry says."""
    kept = {key: filled(value) for key, value in wish.values.items() if key != "controller"}
    if _is_sweep(wish):
        return kept
    return {k: v for k, v in kept.items() if k in RESERVED.keys() - {"set", "limit_samples"}}


def _is_sweep(wish: Wish) -> bool:
    from snakeval.config.load import merged

    return bool(merged(wish.files, wish.values).get("models"))


def _noted(folders: Iterable[str], login: Login, wish: Wish) -> Iterable[Note]:
    files = tuple(str(file.resolve()) for file in wish.files)
    login = replace(login, own=login.clone)  # later questions are for the code that it began with
    for folder in folders:
        here = output_folder(wish.files)
        yield Note(Path(folder).name, login, folder, files, dict(wish.values), here)


def _without_mark(line: str) -> None:
    """What the start there says, without the line that is for us."""
    if not line.startswith(MARK):
        print(line, flush=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
