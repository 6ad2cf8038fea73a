"""The harness's output on its way into the log.

Some harnesses write keys into their output; it passes a thread that knows the values. The pipe ends
with its last writer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from .. import redact


class LogFilter:
    """A pipe to write into (`writes`; closed by `close` once the harness has it)."""

    def __init__(self, log: Path, secrets: Iterable[str]) -> None:
        reads, self.writes = os.pipe()
        self._source = os.fdopen(reads, "rb", buffering=1 << 16)
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._secrets = list(secrets)
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        try:
            redact.copy(self._source, self._log, self._secrets)
        finally:  # a harness whose output nobody takes would wait for ever
            self._source.close()

    def close(self) -> None:
        """Only the harness writes from now on."""
        os.close(self.writes)

    def end(self, seconds: float) -> None:
        """What the harness may have left behind must not hold the log open for ever."""
        self._thread.join(seconds)
