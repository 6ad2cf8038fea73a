"""Byte code for a run folder's `lib/`: without it each task compiles its modules anew.

It is the environment's own, put where Python looks for it (`__pycache__`), and holds for one text
of a module: not for its time, which a copy of the run folder changes. Where a module is another one
by now, with another Python, and where Python looks elsewhere (PYTHONPYCACHEPREFIX), the module
itself counts. Tasks write none (`run.sh` says -B).

Who can write in `lib/` decides what later tasks run, byte code or not; so each start brings both up
to date, and removes all byte code that is not its own.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path

from snakeval.job.files import write_atomically

BY_TIME, BY_TEXT = 0, 0b11
"""Flags of byte code (PEP 552): it holds for a time and a size of the source; for its text."""
HEAD = 16
"""Bytes before the code: magic number, flags, and for what it holds."""


def write_byte_code(modules: Mapping[Path, Path]) -> None:
    """modules: the modules of a `lib/`, each with the file of the environment that it is a copy of.

    Nothing fails for want of it: what cannot be written is left out.
    """
    wanted = {} if sys.dont_write_bytecode else dict(_byte_code_of(modules))
    for folder in {module.parent / "__pycache__" for module in modules}:
        for file in set(folder.glob("*")) - wanted.keys():
            with contextlib.suppress(OSError):
                file.unlink()
    for file, content in wanted.items():
        with contextlib.suppress(OSError):
            file.parent.mkdir(exist_ok=True)
            if not file.exists() or file.read_bytes() != content:
                write_atomically(file, content)


def _byte_code_of(modules: Mapping[Path, Path]) -> Iterable[tuple[Path, bytes]]:
    """Where it belongs, and what it is."""
    for module, original in modules.items():
        with contextlib.suppress(OSError, NotImplementedError):  # this Python may keep none
            text = original.read_bytes()
            code = _kept_code(original, text)
            if code and text == module.read_bytes():
                head = MAGIC_NUMBER + BY_TEXT.to_bytes(4, "little") + source_hash(text)
                yield Path(cache_from_source(str(module))), head + code


def _kept_code(source: Path, text: bytes) -> bytes:
    """The byte code that the environment keeps of a file, made now where there is none; empty:
    it keeps none."""
    kept = Path(cache_from_source(str(source)))
    code = _current(kept, source, text)
    if not code:
        SourceFileLoader("module", str(source)).get_code("module")
        code = _current(kept, source, text)
    return code


def _current(kept: Path, source: Path, text: bytes) -> bytes:
    """Empty where it is another Python's, or of another text."""
    if not kept.exists():
        return b""
    content, found = kept.read_bytes(), source.stat()
    magic, flags, holds_for = content[:4], content[4:8], content[8:HEAD]
    time_and_size = (int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF)
    of_source = {
        BY_TIME: b"".join(number.to_bytes(4, "little") for number in time_and_size),
        BY_TEXT: source_hash(text),
    }
    is_current = of_source.get(int.from_bytes(flags, "little")) == holds_for
    return content[HEAD:] if magic == MAGIC_NUMBER and is_current else b""
