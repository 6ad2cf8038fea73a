"""aiohttp, imported for less: each task pays for it once, before its harness begins."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec

NAMES = ("aiohttp", "aiohttp.web_server")


def begin() -> None:
    """Imports it beside what this process does until it is needed.

    Where byte code of it is kept already, that is: who writes it must be alone, since modules of
    the run folder that are imported at the same time would get some, too.
    """
    if _is_compiled():
        threading.Thread(target=_try, daemon=True, name="imports").start()


def _try() -> None:
    with contextlib.suppress(Exception), without_authorities():  # who needs it is told why
        _import()


def imported() -> None:
    """Waits for what has begun. Raises ImportError where it is not there."""
    with without_authorities(), byte_code_is_kept():
        _import()


def _import() -> None:
    for name in NAMES:
        importlib.import_module(name)


def _is_compiled() -> bool:
    with contextlib.suppress(ImportError, ValueError):
        spec = find_spec(NAMES[0])
        return spec is not None and os.path.exists(spec.cached or "")
    return False


@contextlib.contextmanager
def without_authorities() -> Iterator[None]:
    """aiohttp makes two contexts for TLS when it is imported, and reads all of the system's
    certificate authorities for each: a third of what the import costs. The gateway has its own
    (`upstream.authorities`). Other threads may need them meanwhile.
    """
    import ssl

    this, kind, name = threading.get_ident(), ssl.SSLContext, "set_default_verify_paths"

    def default(context: ssl.SSLContext) -> None:
        if threading.get_ident() != this:
            super(kind, context).set_default_verify_paths()

    if name in vars(kind):  # somebody has put their own there
        yield
        return
    setattr(kind, name, default)
    try:
        yield
    finally:
        delattr(kind, name)


@contextlib.contextmanager
def byte_code_is_kept() -> Iterator[None]:
    """`run.sh` keeps Python from writing byte code into the run folder. Without that of the
    environment's libraries each task would compile them."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
