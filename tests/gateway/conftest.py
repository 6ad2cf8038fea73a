"""Gateways of attempts at one task."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from gateway_process import Gateway

from snakeval.render.lib import write_library


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways of attempts at one task, one after the other or beside each other."""
    write_library(tmp_path / "lib")
    with ExitStack() as ends:

        def started(upstream: str, attempt: int = 1, **options: Any) -> Gateway:
            gateway = Gateway(tmp_path, upstream, attempt, options)
            ends.callback(gateway.kill)
            return gateway

        yield started
