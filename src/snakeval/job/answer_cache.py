"""The caches in which harnesses keep the model's answers: SQLite files in the work folder.

Read to count answers and to find errors that were cached as such; written only to forget those.
lm-eval keeps a table `unnamed` of pickled texts. In a NeMo image the adapter keeps a table `Cache`
of bodies with status 200 (its own kind of diskcache), and lm-eval one of texts as JSON.

A copy lies in every run folder's `lib/`, beside `verify.py`; standard library only, Python 3.9.
"""

from __future__ import annotations

import json
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any


def _connect(path: Path) -> sqlite3.Connection:
    """Open a harness's cache to read, so that neither it nor its folder changes.

    A WAL file that nobody writes is read as immutable, or SQLite would leave -shm and -wal
    files in a published folder. Raises sqlite3.Error or OSError.
    """
    with path.open("rb") as file:
        wal_mode = file.read(20)[18:20] == b"\x02\x02"
    wal = path.with_name(path.name + "-wal")
    at_rest = wal_mode and (not wal.exists() or wal.stat().st_size == 0)
    options = "mode=ro&immutable=1" if at_rest else "mode=ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=1.0)


# ---------------------------------------------------------------- lm-eval

_EMPTY_TEXTS: list[bytes | str] = [
    *(pickle.dumps("", protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
    b'""',
    '""',
]
_IS_EMPTY = f"value IN ({','.join('?' * len(_EMPTY_TEXTS))})"


def _lm_eval_tables(work_dir: Path) -> dict[Path, str]:
    """lm-eval's caches (a file, in a NeMo image a folder) and the tables that they keep."""
    files = {path: "unnamed" for path in work_dir.glob("*_rank*.db") if path.is_file()}
    return {**files, **dict.fromkeys(work_dir.glob("*_rank*.db/cache.db"), "Cache")}


def lm_eval_count(work_dir: Path) -> int | None:
    """Answers in lm-eval's caches; None where there is no cache yet."""
    tables = _lm_eval_tables(work_dir)
    return sum(_count(path, table) for path, table in tables.items()) if tables else None


def forget_empty_texts(work_dir: Path, even_some: bool) -> bool:
    """Take empty texts out of lm-eval's caches, so that they are asked again.

    even_some: also where other answers are not empty. Returns whether it was done.
    """
    tables = _lm_eval_tables(work_dir)
    if not tables:
        return False
    if not even_some and any(_has_text(path, table) for path, table in tables.items()):
        return False
    for path, table in tables.items():
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(f"DELETE FROM {table} WHERE {_IS_EMPTY}", _EMPTY_TEXTS)
    return True


def _has_text(path: Path, table: str) -> bool:
    with closing(_connect(path)) as db:
        query = f"SELECT COUNT(*) FROM {table} WHERE value IS NULL OR NOT {_IS_EMPTY}"
        return bool(db.execute(query, _EMPTY_TEXTS).fetchone()[0])


# ---------------------------------------------------------------- NeMo Evaluator


def nemo_responses(work_dir: Path) -> Path:
    return work_dir / "cache" / "responses" / "cache.db"


def nemo_requests(work_dir: Path) -> Path:
    return work_dir / "cache" / "requests" / "cache.db"


def nemo_count(responses: Path) -> int:
    return _count(responses, "Cache")


def keys(path: Path) -> set[str]:
    with closing(_connect(path)) as db:
        return {str(key) for (key,) in db.execute("SELECT key FROM Cache")}


def rows(path: Path) -> Iterator[tuple[str, bytes | str]]:
    """Keys and values; values of more than 32 kB lie in files beside the database."""
    with closing(_connect(path)) as db:
        for key, value, filename in db.execute("SELECT key, value, filename FROM Cache"):
            yield str(key), (path.parent / filename).read_bytes() if filename else value


def answers_and_errors(responses: Path) -> tuple[set[str], set[str]]:
    """Keys of the answers in a response cache, and of those that are errors in disguise."""
    answers: set[str] = set()
    errors: set[str] = set()
    for key, value in rows(responses):
        (errors if _is_error(_text(value)) else answers).add(key)
    return answers, errors


def all_bodies_empty(responses: Path) -> bool:
    """Whether there are answers and each of them is an empty text; stops at the first other."""
    found = False
    for _, value in rows(responses):
        if not _is_empty(_text(value)):
            return False
        found = True
    return found


def forget_errors(responses: Path) -> None:
    """Take errors out of a response cache, and empty answers where there are no others."""
    if not responses.is_file():
        return
    _, doomed = answers_and_errors(responses)
    if all_bodies_empty(responses):
        doomed = keys(responses)
    if doomed:
        with closing(sqlite3.connect(responses)) as db, db:
            db.executemany("DELETE FROM Cache WHERE key = ?", [(key,) for key in sorted(doomed)])


def _count(path: Path, table: str) -> int:
    with closing(_connect(path)) as db:
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
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
