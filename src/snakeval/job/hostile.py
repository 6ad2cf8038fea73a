"""Reads what a harness has left: its folder may hold anything at all.

Only regular files below the folder are opened, and no link is followed on the way, so no FIFO,
device, socket or file of somebody else is ever read. Size, depth and time have limits: what goes
beyond them is refused in one sentence (`Refused`), and costs seconds. Names may hold anything.

A copy lies in every run folder's `lib/`; Python 3.9, and PyYAML only where YAML is read.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, Union

MEGABYTE = 1 << 20
MOST_BYTES = 256 * MEGABYTE
"""Of a file that is read as a whole, and of one line."""
MOST_DEPTH = 100
"""Of nested lists and mappings, and of folders."""
MOST_NODES = 5_000_000
"""Values in a YAML file, each alias counted as what it stands for."""
MOST_FILES = 1_000_000
"""Below one folder."""
MOST_SECONDS = 20.0
"""For one YAML file, or one question to a database."""
MOST_DIGITS = 100
"""A longer whole number is read as a float: infinite, or rounded."""

Name = Union[str, Path]  # noqa: UP007 # Python 3.9


class Refused(OSError, ValueError):
    """What was found is not read; the text says why in one sentence."""


_opened: ContextVar[set[str] | None] = ContextVar("_opened", default=None)


@contextlib.contextmanager
def noting() -> Iterator[set[str]]:
    """The names of all files that are opened meanwhile, relative to their folders."""
    names: set[str] = set()
    token = _opened.set(names)
    try:
        yield names
    finally:
        _opened.reset(token)


# ---------------------------------------------------------------- files and folders


def parts_of(name: Name) -> tuple[str, ...]:
    """The parts of a relative name. Raises Refused for one that leaves its folder."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in str(name):
        raise Refused(f"{str(name)!r} is no file of the folder")
    return parts


def _folder(root: Path, parts: tuple[str, ...]) -> int:
    """The folder below `root` as a descriptor, without following a link. Raises OSError."""
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for part in parts:
        try:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def descriptor(root: Path, name: Name) -> int:
    """A regular file below `root`, opened to read. Raises Refused, or OSError as `open` does."""
    *folders, last = parts_of(name)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        here = _folder(Path(root), tuple(folders))
        try:
            found = os.stat(last, dir_fd=here, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):  # a device may act on being opened
                raise Refused(f"{str(name)!r} is no regular file ({kind_of(found.st_mode)})")
            opened = os.open(last, flags, dir_fd=here)
        finally:
            os.close(here)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) or isinstance(error, NotADirectoryError):
            raise Refused(f"{str(name)!r} leads through a link") from error
        raise
    if not stat.S_ISREG(os.fstat(opened).st_mode):  # exchanged in between
        os.close(opened)
        raise Refused(f"{str(name)!r} is no regular file")
    return opened


def kind_of(mode: int) -> str:
    """What a file is, in a word."""
    kinds = ((stat.S_ISLNK, "a link"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
             (stat.S_ISDIR, "a folder"), (stat.S_ISREG, "a file"))  # fmt: skip
    return next((word for asks, word in kinds if asks(mode)), "a device")


def open_binary(root: Path, name: Name) -> IO[bytes]:
    """A regular file below `root`; what is read of it is bounded by the caller."""
    opened = os.fdopen(descriptor(root, name), "rb")
    names = _opened.get()
    if names is not None:
        names.add(Path(name).as_posix())
    return opened


def is_file(root: Path, name: Name) -> bool:
    """Whether there is a regular file. A link, pipe, socket or device in its place is refused: it
    stands where a file is looked for. Raises Refused."""
    try:
        os.close(descriptor(root, name))
    except Refused:
        raise
    except OSError:
        return False
    return True


def is_there(root: Path, name: Name) -> bool:
    """Whether there is anything at all under this name, a broken link too."""
    try:
        *folders, last = parts_of(name)
        here = _folder(Path(root), tuple(folders))
    except OSError:
        return False
    try:
        os.stat(last, dir_fd=here, follow_symlinks=False)
    except OSError:
        return False
    finally:
        os.close(here)
    return True


def files(root: Path, pattern: str = "*") -> Iterator[Path]:
    """Relative names of the regular files below a folder whose last part matches, in order.

    Links are neither followed nor listed. Raises Refused for too many files or too deep a tree.
    """
    for name, mode in entries(root):
        if stat.S_ISREG(mode) and fnmatch.fnmatchcase(name.name, pattern):
            yield name


def entries(root: Path) -> Iterator[tuple[Path, int]]:
    """Relative name and mode of everything below a folder but folders, which are entered."""
    for path, mode, _ in _walk(root):
        yield path, mode


def _walk(root: Path) -> Iterator[tuple[Path, int, int]]:
    """The same, with the folder as a descriptor."""
    if not root.is_dir():
        return
    count = 0
    for folder, folders, names, here in os.fwalk(root, follow_symlinks=False):
        relative = Path(os.path.relpath(folder, root))
        if len(relative.parts) > MOST_DEPTH:
            raise Refused(f"{root.name} has more than {MOST_DEPTH} folders in each other")
        for name in sorted([*folders, *names]):  # a link to a folder stands among the folders
            count += 1
            if count > MOST_FILES:
                raise Refused(f"{root.name} has more than {MOST_FILES} files")
            mode = _mode(name, here)
            if mode is not None and not stat.S_ISDIR(mode):
                yield relative / name, mode, here


def _mode(name: str, folder: int) -> int | None:
    """Of what stands under a name now; None where it has gone."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    return None


def disarm(root: Path) -> list[str]:
    """Takes the set-uid and set-gid bits from files, and removes devices.

    Returns a sentence for each. What belongs to somebody else is left, and told as well.
    """
    told = []
    try:
        for path, mode, here in _walk(root):
            if said := _disarmed(path.name, mode, here):
                told.append(f"{ascii(str(path))} {said}")
    except Refused as refused:
        told.append(f"not all of it was looked at: {refused}")
    return told


def _disarmed(name: str, mode: int, folder: int) -> str | None:
    """What was done about one file; None: nothing need be."""
    armed = stat.S_ISUID | stat.S_ISGID
    is_device = stat.S_ISBLK(mode) or stat.S_ISCHR(mode)
    if not is_device and not (stat.S_ISREG(mode) and mode & armed):
        return None
    what = "was a device" if is_device else "was a set-uid or set-gid file"
    try:
        if is_device:
            os.unlink(name, dir_fd=folder)
            return f"{what}: removed"
        os.chmod(name, stat.S_IMODE(mode) & ~armed, dir_fd=folder)
        return f"{what}: it is none any more"
    except OSError as error:
        return f"{what}, and cannot be changed: {error.strerror}"


# ---------------------------------------------------------------- content


def read(root: Path, name: Name, most: int = MOST_BYTES) -> bytes:
    """A whole file. Raises Refused for one that is too large, OSError where there is none."""
    with open_binary(root, name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Refused(f"{str(name)!r} is larger than {most // MEGABYTE} MB")
    return content


def text(root: Path, name: Name, most: int = MOST_BYTES) -> str:
    """A whole file as UTF-8; what is none is replaced."""
    return read(root, name, most).decode("utf-8", errors="replace")


def lines(root: Path, name: Name, most: int = MOST_BYTES) -> Iterator[str]:
    """The lines of a file of any length. Raises Refused for a line that is too long."""
    with open_binary(root, name) as file:
        while line := file.readline(most + 1):
            if len(line) > most:
                raise Refused(f"{str(name)!r} has a line of more than {most // MEGABYTE} MB")
            yield line.decode("utf-8", errors="replace")


def parse_json(content: str | bytes) -> Any:
    """JSON as Python has it. Raises Refused for a nesting that is too deep, else ValueError."""
    try:
        return json.loads(content, parse_int=_whole)
    except RecursionError as error:
        raise Refused("its lists and mappings are nested too deeply") from error


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= MOST_DIGITS else float(digits)


def load_json(root: Path, name: Name) -> Any:
    """A JSON file. Raises Refused, ValueError for one that is truncated or no JSON, OSError."""
    return parse_json(read(root, name))


def load_yaml(root: Path, name: Name) -> Any:
    """A YAML file; tags of Python objects are read as text.

    Raises Refused, ValueError for one that is truncated or no YAML, OSError, ImportError where
    this Python has no PyYAML.
    """
    return parse_yaml(text(root, name))


def parse_yaml(content: str) -> Any:
    """YAML as Python has it; see `load_yaml`."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc] # one of two
        pass

    def number(loader: Any, node: Any) -> Any:
        if len(node.value) > MOST_DIGITS:
            return str(node.value)
        return loader.construct_yaml_int(node)

    # NeMo writes with `yaml.dump`, which may leave tags of Python objects.
    Loader.add_multi_constructor(
        "tag:yaml.org,2002:python/", lambda loader, suffix, node: str(node.value)
    )
    Loader.add_constructor("tag:yaml.org,2002:int", number)
    try:
        _check_yaml(yaml, base, content)
        return yaml.load(content, Loader=Loader)
    except yaml.YAMLError as error:
        raise ValueError("it is no YAML") from error
    except RecursionError as error:  # only where PyYAML has no libyaml
        raise Refused("its lists and mappings are nested too deeply") from error


def _check_yaml(yaml: Any, loader: Any, content: str) -> None:
    """Looks at the events before anything is built of them. Raises Refused."""
    until = time.monotonic() + MOST_SECONDS
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    for seen, event in enumerate(yaml.parse(content, Loader=loader)):
        if seen % 1000 == 0 and time.monotonic() > until:
            raise Refused(f"it takes longer than {MOST_SECONDS:.0f} s to read")
        if isinstance(event, yaml.AliasEvent):
            total += sizes.get(event.anchor, MOST_NODES)  # one that names itself has no end
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.value == "<<" and event.implicit[0]:
                raise Refused("it merges mappings (<<)")
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            total += 1
            if len(open_nodes) > MOST_DEPTH:
                raise Refused("its lists and mappings are nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before
        if total > MOST_NODES:
            raise Refused("its aliases stand for too much")


# ---------------------------------------------------------------- databases


@contextlib.contextmanager
def database(root: Path, name: Name, table: str, write: bool = False) -> Iterator[Any]:
    """A SQLite file below `root`, and a real table in it; neither changes while it is only read.

    A WAL file that nobody writes is read as immutable, or SQLite would leave -shm and -wal files
    in a published folder. Raises sqlite3.Error, Refused, OSError.
    """
    path = Path(root) / Path(*parts_of(name))
    with os.fdopen(descriptor(root, name), "rb") as file:
        wal_mode = file.read(20)[18:20] == b"\x02\x02"
    beside = [Path(f"{name}{end}") for end in ("-wal", "-shm", "-journal")]
    # SQLite opens and empties them, wherever a link leads.
    there = [is_there(root, each) and is_file(root, each) for each in beside]
    at_rest = wal_mode and not (there[0] and path.with_name(f"{path.name}-wal").stat().st_size)
    options = "mode=rw" if write else "mode=ro&immutable=1" if at_rest else "mode=ro"
    uri = f"{path.absolute().as_uri()}?{options}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as db:
        _limit(db)
        db.execute("PRAGMA trusted_schema=OFF")
        _check_schema(db, table, f"{str(name)!r}")
        _limit(db)
        with db:
            yield db


def _limit(db: sqlite3.Connection) -> None:
    """Ends what is asked from now on when it takes too long."""
    until = time.monotonic() + MOST_SECONDS
    db.set_progress_handler(lambda: time.monotonic() > until, 100_000)


def _check_schema(db: sqlite3.Connection, table: str, shown: str) -> None:
    """Refuses a view, a virtual table and computed columns: they are programs. So are triggers, but
    diskcache has some; what is asked has its time."""
    found = db.execute("SELECT name, type, sql FROM sqlite_master").fetchmany(MOST_DEPTH)
    made = {kind: str(sql) for name, kind, sql in found if name == table}
    if not made.get("table", "").upper().startswith("CREATE TABLE"):
        raise Refused(f"{shown} has no table {table}")
    columns = db.execute(f"PRAGMA table_xinfo({table})").fetchall()
    if any(column[6] for column in columns):
        raise Refused(f"{shown} has computed columns")


def select(root: Path, name: Name, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a table; each has its own time. Raises as `database` does."""
    with database(root, name, table) as db:
        for count, row in enumerate(db.execute(f"SELECT {columns} FROM {table}")):
            if count >= MOST_NODES:
                raise Refused(f"{str(name)!r} has more than {MOST_NODES} rows")
            yield row
            _limit(db)


def digest(root: Path, name: Name) -> str:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with open_binary(root, name) as file:
        while block := file.read(MEGABYTE):
            found.update(block)
    return found.hexdigest()
