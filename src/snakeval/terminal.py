"""The one console that tables and sentences for a person go to.

What is printed may hold names, causes and messages from outside: they are text. No markup of
rich's is read in it, and no control sequence passes.
"""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len, set_cell_size
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


def clipped(text: str, width: int) -> str:
    """The beginning of a text, in `width` columns: a wide character takes two of them."""
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)) + "…"


def middle(text: str, width: int) -> str:
    """A name that is too long loses its middle: its end tells it from others."""
    if cell_len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{set_cell_size(text, head)}…{set_cell_size(text[::-1], width - 1 - head)[::-1]}"
