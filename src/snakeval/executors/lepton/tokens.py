"""The tokens of a Lepton endpoint: which variables hold them, and which secrets of the workspace.

A token's value is in no file and in no spec: the endpoint, and jobs on Lepton, name a secret; what
runs here has a variable.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from snakeval.config.deployment import ServerDeployment
from snakeval.config.execution import LeptonExecution

OWN_TOKEN = "SNAKEVAL_ENDPOINT_TOKEN"
"""The variable with the token of an endpoint for which the config names none."""

UNIQUE = "UNIQUE_ENDPOINT_TOKEN"
"""The launcher's word for a token that somebody has to think of."""


@dataclass(frozen=True)
class Token:
    """A token that the endpoint takes.

    variable  that holds its value here, and where the benchmarks run
    secret    of the workspace, as the config names it; None: we make one of the variable's value
    """

    variable: str
    secret: str | None


def tokens_of(
    given: ServerDeployment, execution: LeptonExecution, key_name: str | None
) -> list[Token]:
    """The tokens of an endpoint; the benchmarks use the first. Without any in the config it has
    one of its own: what nobody protects, anybody uses.

    key_name  `target.api_endpoint.api_key_name`
    """
    found: list[Token] = []
    for token in given.lepton_config.api_tokens:
        if token.value_from:
            secret = token.value_from.token_name_ref
            found.append(Token(_holds(secret, execution) or _as_variable(secret), secret))
        elif token.value and token.value != UNIQUE:
            found.append(Token(token.value.removeprefix("host:"), None))
    if not found:
        return [Token(key_name or OWN_TOKEN, None)]
    if key_name:
        found[0] = Token(key_name, found[0].secret)
    return found


def _holds(secret: str, execution: LeptonExecution) -> str | None:
    """The variable of the benchmarks' jobs that is filled from a secret."""
    for name, value in execution.lepton_platform.tasks.env_vars.items():
        if reference_of(value) == secret:
            return name
    return None


def _as_variable(secret: str) -> str:
    return re.sub(r"\W", "_", secret).upper()


def reference_of(value: Any) -> str | None:
    """The secret that `{value_from: {secret_name_ref: NAME}}` names."""
    source = value.get("value_from") if isinstance(value, Mapping) else None
    name = source.get("secret_name_ref") if isinstance(source, Mapping) else None
    return name if isinstance(name, str) else None


def digest_of(mark: str) -> str:
    """What the names of a deployment's endpoint and secrets end in."""
    return hashlib.sha256(mark.encode()).hexdigest()[:8]


def token_secrets(tokens: Iterable[Token], mark: str) -> dict[str, Token]:
    """Name of the workspace's secret -> the token that it holds."""
    return {
        token.secret or f"snakeval-{digest_of(mark)}" + (f"-{number}" if number else ""): token
        for number, token in enumerate(tokens)
    }


def own_token(workspace_token: str) -> str:
    """The token of endpoints for which the config names none."""
    return hmac.new(workspace_token.encode(), b"snakeval endpoint token", "sha256").hexdigest()[:48]
