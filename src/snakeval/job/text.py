"""Text from outside (answers, names of scores, logs, a server's messages), as it may be shown."""

from __future__ import annotations

import re

_STRINGS = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
"""OSC, DCS, SOS, PM, APC: title, clipboard, links."""

_COMMANDS = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
"""CSI: colours, the cursor, clearing the screen."""

_LETTERS = r"\x1b[ -/]*[0-~]?|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
"""Other escapes, and every other control character but tab and the ends of lines."""

_DIRECTIONS = r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
"""They turn the order of what stands around them."""

_CONTROLS = re.compile("|".join((_STRINGS, _COMMANDS, _LETTERS, _DIRECTIONS)))
_LINE_ENDS = re.compile("\r\n?|[\u2028\u2029]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """The text with every half of a character (a lone surrogate) replaced: what files can hold."""
    return _SURROGATES.sub("\ufffd", text)


def plain(text: str) -> str:
    """The text without what a terminal would obey: tabs and ends of lines are all that is left."""
    return whole(_CONTROLS.sub("", _LINE_ENDS.sub("\n", text)))


def one_line(text: str) -> str:
    """The same on one line."""
    return " ".join(plain(text).split())
