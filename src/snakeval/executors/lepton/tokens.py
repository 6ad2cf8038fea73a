"""Which secrets of the workspace hold the tokens of an endpoint: it, and jobs on Lepton, name a
secret; what runs here has a variable (`config/lepton.py`)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from snakeval.config.lepton import Token


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
