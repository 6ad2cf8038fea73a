"""The config file: its typed model, and how files and overrides become one."""

import contextlib
import os
from collections.abc import Iterator

_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"


@contextlib.contextmanager
def _without_plugins() -> Iterator[None]:
    """Pydantic looks through all installed packages for plugins when a model is made, which costs
    a tenth of a second at every start; there is none for ours. What we start sees the caller's
    variable."""
    given = os.environ.get(_PLUGINS)
    os.environ[_PLUGINS] = "__all__"
    try:
        yield
    finally:
        if given is None:
            del os.environ[_PLUGINS]
        else:
            os.environ[_PLUGINS] = given


with _without_plugins():
    from snakeval.config import model  # noqa: F401
