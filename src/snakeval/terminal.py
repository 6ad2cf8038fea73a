"""The one console that tables and sentences for a person go to.

What is printed may hold names, causes and messages from outside: they are text. No markup of
rich's is read in it, and no control sequence passes.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from snakeval.job.text import plain


class Terminal(Console):
    """Wide enough for whole sentences where nobody looks through a terminal (`wide` columns)."""

    def __init__(self, wide: int = 200, **options: Any) -> None:
        width = None if Console(**options).is_terminal else wide
        super().__init__(width=width, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(plain(text), **options)

    def say(self, line: str, style: str = "") -> None:
        """A sentence, not broken into lines."""
        self.print(line, soft_wrap=True, style=style)
