"""Pages that are one file: they open without a network, and only their own script runs.

Jinja escapes every value; whatever a model, a harness or a person has called something reaches a
page as text only.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from snakeval.job.text import plain

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY = (
    "default-src 'none'; script-src 'sha256-{js}'; style-src 'sha256-{css}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
"""The page's own script and style run and nothing else, even if something else came in."""


def environment() -> Environment:
    """Jinja with the filters for numbers."""
    from jinja2 import Environment, StrictUndefined

    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_as_text,
    )
    made.filters.update(number=number, signed=signed, whole=whole)
    return made


def assets(package: str) -> dict[str, str]:
    """Style, script and policy of the page in a package, by the names that its template uses."""
    css, js = (asset(package, f"page.{suffix}") for suffix in ("css", "js"))
    return {"css": css, "js": js, "policy": POLICY.format(css=_hash(css), js=_hash(js))}


def asset(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _as_text(value: Any) -> Any:
    """Without control characters and halves of characters, which a page cannot hold."""
    return plain(value) if type(value) is str else value


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def number(value: float) -> str:
    """Three decimals for shares, fewer for larger numbers."""
    size = abs(value)
    return f"{value:.3f}" if size < 10 else f"{value:.1f}" if size < 1000 else f"{value:,.0f}"


def signed(value: float) -> str:
    return ("+" if value > 0 else "\u2212" if value < 0 else "") + number(abs(value))


def whole(value: Any) -> str:
    return "\u2013" if value is None else f"{value:,.0f}"
