"""Where the value of a variable comes from: the one reading of what `env_vars` say.

`host:NAME` (or `NAME` alone) is a variable of the machine that starts the run, `runtime:NAME` one
of the machine that the job runs on, `lit:text` the text itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
"""The name of a variable, as POSIX has it."""

LOOKS_LIKE_A_KEY = re.compile(
    r"^(hf_|gsk_|ghp_|gho_|github_pat_|AIza|AKIA|glpat|xox[bp]|nvapi|sk_)[A-Za-z0-9_]{12,}\Z"
    r"|^(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9]{24,}\Z"
)
"""Keys without a dash could pass for names of variables; taken so, they would be printed."""


@dataclass(frozen=True)
class Source:
    """Where the value of a variable comes from.

    kind  host: this machine; runtime: the machine of the job; lit: it is written in the config
    text  the name of the variable there, or the value itself
    """

    kind: Literal["host", "runtime", "lit"]
    text: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.text}"

    @property
    def variable(self) -> str | None:
        """The variable that it is read from; None: the value is written."""
        return None if self.kind == "lit" else self.text

    @property
    def wanted_here(self) -> str | None:
        """The variable of this machine that must be set; None: none."""
        return self.text if self.kind == "host" else None


def host(name: str) -> Source:
    """The variable of this machine."""
    return Source("host", name)


def written(text: str) -> Source:
    """The text itself."""
    return Source("lit", text)


def names_a_variable(text: str) -> bool:
    """Whether a text can be the name of an environment variable, and does not look like a key."""
    return bool(VARIABLE.match(text)) and not LOOKS_LIKE_A_KEY.match(text)


def looks_like_a_key(text: str) -> bool:
    """Whether a text that may be anything has the form of a key."""
    return bool(LOOKS_LIKE_A_KEY.match(text.replace("-", "_")))


def source_of(given: Any) -> Source:
    """Reads what stands for a variable. Raises pydantic's errors for what names none."""
    if isinstance(given, Source):
        return given
    if not isinstance(given, str):
        raise PydanticKnownError("string_type")
    kind, colon, rest = given.partition(":")
    if colon and kind == "lit":
        return written(rest)
    name = rest if colon and kind in ("host", "runtime") else given
    if not names_a_variable(name):
        # The text is not repeated: it may be a secret that was pasted.
        raise PydanticCustomError(
            "fixable",
            "{what}",
            {
                "what": "is not the name of a variable; never write the secret itself here",
                "fix": "write host:NAME (a variable of this machine), runtime:NAME or lit:text",
            },
        )
    return Source("runtime" if colon and kind == "runtime" else "host", name)


AnySource = Annotated[
    Source,
    BeforeValidator(source_of),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]
