"""`prices`: what an evaluation costs in money. Changes no run: it is told, never decided on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from snakeval.config.sections import Section

Price = Annotated[float, Field(ge=0)]


class Prices(Section):
    """What the provider of the endpoint, or of the server's machine, asks for."""

    currency: str = Field("USD", description="Stands behind every sum.")
    prompt_tokens: Price | None = Field(None, description="For a million tokens of prompts.")
    completion_tokens: Price | None = Field(None, description="For a million tokens of answers.")
    server_hour: Price | None = Field(
        None,
        description="For an hour of a server that the pipeline brings up, with all its GPUs; "
        "loading and idle time count.",
    )
