"""The caches in which harnesses keep the model's answers: SQLite files in the work folder.

Read to count answers and to find errors that were cached as such; written only to forget those.
lm-eval keeps a table `unnamed` of pickled texts. In a NeMo image the adapter keeps a table `Cache`
of bodies with status 200 (its own kind of diskcache), and lm-eval one of texts as JSON.

A copy lies in every run folder's `lib/`, beside `verify.py`; standard library only, Python 3.9.
"""

from __future__ import annotations

import pickle
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from . import hostile

RESPONSES = Path("cache/responses/cache.db")
REQUESTS = Path("cache/requests/cache.db")
STATISTICS = Path("response_stats_cache/cache.db")
"""Of a NeMo image's adapter, relative to the work folder."""


def is_there(work_dir: Path, cache: Path) -> bool:
    """Whether there is such a cache. Raises hostile.Refused for what is no regular file."""
    return hostile.is_file(work_dir, cache)


# ---------------------------------------------------------------- lm-eval

_EMPTY_TEXTS: list[bytes | str] = [
    *(pickle.dumps("", protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
    b'""',
    '""',
]
_IS_EMPTY = f"value IN ({','.join('?' * len(_EMPTY_TEXTS))})"


def _lm_eval_tables(work_dir: Path) -> dict[Path, str]:
    """lm-eval's caches (a file, in a NeMo image a folder) and the tables that they keep."""
    found = {}
    for entry in _listed(work_dir):
        if not fnmatchcase(entry, "*_rank*.db"):
            continue
        mode = (work_dir / entry).lstat().st_mode
        if stat.S_ISREG(mode):
            found[Path(entry)] = "unnamed"
        elif stat.S_ISDIR(mode) and hostile.is_file(work_dir, Path(entry, "cache.db")):
            found[Path(entry, "cache.db")] = "Cache"
    return found


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def lm_eval_count(work_dir: Path) -> int | None:
    """Answers in lm-eval's caches; None where there is no cache yet."""
    tables = _lm_eval_tables(work_dir)
    return sum(_count(work_dir, path, table) for path, table in tables.items()) if tables else None


def forget_empty_texts(work_dir: Path, even_some: bool) -> bool:
    """Take empty texts out of lm-eval's caches, so that they are asked again.

    even_some: also where other answers are not empty. Returns whether it was done.
    """
    tables = _lm_eval_tables(work_dir)
    if not tables:
        return False
    if not even_some and any(_has_text(work_dir, path, table) for path, table in tables.items()):
        return False
    for path, table in tables.items():
        with hostile.database(work_dir, path, table, write=True) as db:
            db.execute(f"DELETE FROM {table} WHERE {_IS_EMPTY}", _EMPTY_TEXTS)
    return True


def _has_text(work_dir: Path, path: Path, table: str) -> bool:
    with hostile.database(work_dir, path, table) as db:
        query = f"SELECT COUNT(*) FROM {table} WHERE value IS NULL OR NOT {_IS_EMPTY}"
        return bool(db.execute(query, _EMPTY_TEXTS).fetchone()[0])


# ---------------------------------------------------------------- NeMo Evaluator


def nemo_count(work_dir: Path) -> int:
    return _count(work_dir, RESPONSES, "Cache")


def keys(work_dir: Path, cache: Path) -> set[str]:
    return {str(key) for (key,) in hostile.select(work_dir, cache, "Cache", "key")}


def rows(work_dir: Path, cache: Path) -> Iterator[tuple[str, bytes | str]]:
    """Keys and values; values of more than 32 kB lie in files beside the database."""
    for key, value, filename in hostile.select(work_dir, cache, "Cache", "key, value, filename"):
        beside = cache.parent / str(filename)
        yield str(key), hostile.read(work_dir, beside) if filename else value


def answers_and_errors(work_dir: Path) -> tuple[set[str], set[str]]:
    """Keys of the answers in a response cache, and of those that are errors in disguise."""
    answers: set[str] = set()
    errors: set[str] = set()
    for key, value in rows(work_dir, RESPONSES):
        (errors if _is_error(_text(value)) else answers).add(key)
    return answers, errors


def all_bodies_empty(work_dir: Path) -> bool:
    """Whether there are answers and each of them is an empty text; stops at the first other."""
    found = False
    for _, value in rows(work_dir, RESPONSES):
        if not _is_empty(_text(value)):
            return False
        found = True
    return found


def forget_errors(work_dir: Path) -> None:
    """Take errors out of a response cache, and empty answers where there are no others."""
    if not is_there(work_dir, RESPONSES):
        return
    _, doomed = answers_and_errors(work_dir)
    if all_bodies_empty(work_dir):
        doomed = keys(work_dir, RESPONSES)
    if doomed:
        with hostile.database(work_dir, RESPONSES, "Cache", write=True) as db:
            db.executemany("DELETE FROM Cache WHERE key = ?", [(key,) for key in sorted(doomed)])


def _count(work_dir: Path, path: Path, table: str) -> int:
    with hostile.database(work_dir, path, table) as db:
        return int(db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


def _text(body: bytes | str | None) -> str:
    return body.decode("utf-8", errors="replace") if isinstance(body, bytes) else str(body or "")


def _is_error(body: str) -> bool:
    """True for a body with status 200 that says `error` and holds no choices."""
    # Read as text first: a cache may hold gigabytes of honest answers.
    if '"choices"' in body or '"error"' not in body:
        return False
    return bool(_object(body).get("error"))


def _is_empty(body: str) -> bool:
    """True for a completion in which the model says nothing: no text, reasoning or tool call."""
    choices = _object(body).get("choices")
    if not isinstance(choices, list) or not choices:
        return False
    return not any(_says_something(choice) for choice in choices)


def _says_something(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return False
    message = choice.get("message")
    said = {**message, "role": None} if isinstance(message, dict) else {"text": choice.get("text")}
    return any(said.values())


def _object(body: str) -> dict[str, Any]:
    try:
        content = hostile.parse_json(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
