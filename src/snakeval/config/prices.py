"""`prices` and `budget`: what an evaluation costs, and may cost. Neither changes a result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from snakeval.config.sections import Section, empty_if_null, fixable

MILLION = 1_000_000
Price = Annotated[float, Field(ge=0)]


class TokenPrices(Section):
    """What an endpoint's provider asks for."""

    prompt_tokens: Price | None = Field(None, description="For a million tokens of prompts.")
    completion_tokens: Price | None = Field(None, description="For a million tokens of answers.")

    @property
    def known(self) -> dict[str, float]:
        """Those that are set, by the names of a result's totals."""
        given = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }
        return {kind: price for kind, price in given.items() if price is not None}

    def cost(self, used: Mapping[str, float | None]) -> float | None:
        """Of tokens, by the same names; a kind without a price is not asked for. None where one
        with a price is not known."""
        parts = [(used.get(kind), price) for kind, price in self.known.items()]
        if any(tokens is None for tokens, _ in parts):
            return None
        return sum((tokens or 0.0) * price for tokens, price in parts) / MILLION


class Prices(TokenPrices):
    """What the providers of the model's endpoint, of others, or of the server's machine ask for."""

    currency: str = Field("USD", description="Stands behind every sum.")
    endpoints: Annotated[dict[str, TokenPrices], BeforeValidator(empty_if_null)] = Field(
        default_factory=dict,
        description="Of a judge, a simulated user: by the name of the auxiliary server, or of the "
        "parameter that has its address.",
    )
    server_hour: Price | None = Field(
        None,
        description="For an hour of a server that the pipeline brings up, with all its GPUs; "
        "loading and idle time count.",
    )


SUFFIXES = {"k": 10**3, "m": 10**6, "b": 10**9}
_COUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmb])\Z", re.IGNORECASE)


def _count(value: Any) -> Any:
    """`5M` is five millions; `true` is no number."""
    if isinstance(value, bool):
        raise fixable("must be a number", "write it as 5000000 or 5M (k, M, B)")
    if not isinstance(value, str):
        return value
    found = _COUNT.match(value.strip())
    if found:
        return round(float(found[1]) * SUFFIXES[found[2].lower()])
    if value.strip().isdecimal():
        return int(value)
    raise fixable(f"'{value}' is not a number", "write it as 5000000 or 5M (k, M, B)")


Count = Annotated[int, BeforeValidator(_count), Field(gt=0)]


class Budget(Section):
    """What may be asked of the endpoints, over all attempts; null: no limit. When it is used up, no
    further request goes out, and a larger one continues. Needs the gateway."""

    usd: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Money for tokens of the model and of judges, by `prices` and in their "
        "currency.",
    )
    tokens: Count | None = Field(
        None, description="Tokens of prompts and answers, such as 5M, at all endpoints."
    )
    requests: Count | None = Field(None, description="Requests, such as 20k, at all endpoints.")
    hours: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Hours in which anything was asked, counted by the minute."
    )

    @property
    def limits(self) -> dict[str, float]:
        """Those that are set, by their names."""
        return {name: limit for name, limit in self.model_dump().items() if limit is not None}
