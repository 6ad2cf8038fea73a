"""Files and numbers that a harness has left, read as hostile; CheckFailed for what is none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .. import hostile
from .model import HIGHER, LOWER, UNKNOWN, CheckFailed


def load_json(work_dir: Path, name: Path | str) -> Any:
    try:
        return hostile.load_json(work_dir, name)
    except hostile.Refused as error:
        raise CheckFailed(f"the result file {shown(name)} is not read: {error}") from error
    except ValueError as error:
        raise CheckFailed(f"the result file {shown(name)} is truncated or no JSON") from error


def load_yaml(work_dir: Path, name: str) -> Any:
    try:
        text = hostile.text(work_dir, name)
        data = hostile.parse_yaml(text)
    except ImportError as error:
        raise CheckFailed(f"{name} cannot be read: this Python has no PyYAML") from error
    except hostile.Refused as error:
        raise CheckFailed(f"the result file {name} is not read: {error}") from error
    except ValueError as error:
        raise CheckFailed(f"the result file {name} is truncated or no YAML") from error
    # A file cut in the middle is often still valid YAML, but its last line never ends.
    if not text.endswith("\n"):
        raise CheckFailed(f"the result file {name} is truncated")
    return data


def shown(name: Path | str) -> str:
    """The last part of a name that a harness has chosen, on one line."""
    last = Path(name).name
    return last if last.isprintable() else ascii(last)


def has(work_dir: Path, name: Path | str) -> bool:
    """Whether the harness has left a file. A link, pipe or device in its place is a CheckFailed."""
    try:
        return hostile.is_file(work_dir, name)
    except hostile.Refused as error:
        raise CheckFailed(f"the result file {shown(name)} is not read: {error}") from error


def number_or_nan(value: Any) -> float:
    """A score; NaN for what is no finite number, which `scores.py` leaves out and tells."""
    number = optional_number(value)
    return math.nan if number is None else number


def optional_number(value: Any) -> float | None:
    """A stderr or a count; harnesses write 'N/A' or NaN where there is none (one sample)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond every float
        return None


def optional_count(value: Any) -> int | None:
    number = optional_number(value)
    return None if number is None else int(number)


def claimed(value: Any, what: str) -> int | None:
    """A count that a harness states; CheckFailed for one that is none."""
    number = optional_number(value)
    if value is None or (number is not None and number >= 0 and number == int(number)):
        return None if number is None else int(number)
    raise CheckFailed(f"the result file says {what}: {value!r}, which is no number of samples")


def direction(higher_is_better: Any) -> str:
    """Which way a score is better, in the words of `Score.better`."""
    if not isinstance(higher_is_better, bool):
        return UNKNOWN
    return HIGHER if higher_is_better else LOWER


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
