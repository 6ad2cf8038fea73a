"""What several of the config's Lepton sections hold: storage, tokens and variables; secrets are
named there, never written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import AliasChoices, Field

from snakeval.config.sections import FreeOrNone, Instead, Section, Written, fixable
from snakeval.config.source import names_a_variable

REFERENCES = Instead("write {key}: {value_from: {secret_name_ref: SECRET}}")
"""How a secret of the workspace is named."""

OWN_TOKEN = "SNAKEVAL_ENDPOINT_TOKEN"
"""The variable with the token of an endpoint for which the config names none."""

UNIQUE = "UNIQUE_ENDPOINT_TOKEN"
"""The launcher's word for a token that somebody has to think of."""


class LeptonMount(Section):
    """Storage of the workspace that the endpoint sees."""

    from_: str | None = Field(
        None, alias="from", description="The storage; null: that of the benchmarks' first mount."
    )
    path: str | None = Field(None, description="Folder on the storage.")
    mount_path: str = Field(description="Where the endpoint sees it.")
    mount_options: FreeOrNone = Field(None, description="In Lepton's own words.")


class JobMount(LeptonMount):
    """Storage of the workspace that a benchmark's job sees, and this machine too."""

    from_: Written = Field(alias="from", description="The storage.")
    path: Written = Field(description="Folder on the storage.")
    mount_path: Written = Field(description="Where the job sees it.")
    here: str | None = Field(
        None, description="Where this machine sees it; null: at the same path (ours)."
    )


class TokenSource(Section):
    token_name_ref: str = Field(
        validation_alias=AliasChoices("token_name_ref", "secret_name_ref"),
        description="A secret of the Lepton workspace.",
    )


class ApiToken(Section):
    """A token that the endpoint takes. UNIQUE_ENDPOINT_TOKEN, as none: one of its own."""

    value: str | None = Field(None, description="`host:NAME`, a variable of this machine.")
    value_from: TokenSource | None = Field(None, description="By reference.")


def as_mounts(value: Any) -> Any:
    """The launcher writes one mount as `{enabled, cache_path, mount_path}`."""
    if value is None:
        return []
    if not isinstance(value, dict):
        return value
    words = {"cache_path": "path", "storage_source": "from"}
    mount = {words.get(key, key): each for key, each in value.items() if key != "enabled"}
    return [mount] if value.get("enabled", True) else []


def references(value: Any) -> Any:
    """Tokens are named, never written: what is no reference is refused and not repeated."""
    tokens = [value] if isinstance(value, str) else ([] if value is None else value)
    if not isinstance(tokens, list):
        return value
    for token in tokens:
        if isinstance(token, dict) and "value_from" in token:
            continue
        text = token.get("value") if isinstance(token, dict) else token
        if not isinstance(text, str) or not names_a_variable(text.removeprefix("host:")):
            raise fixable(
                "holds a token that is not a reference; never write the secret itself here",
                "write - value: host:NAME (a variable of this machine), or "
                "- value_from: {token_name_ref: SECRET} (a secret of the Lepton workspace)",
            )
    return [token if isinstance(token, dict) else {"value": token} for token in tokens]


def variables(value: Any) -> Any:
    """Variables of an endpoint or a job: text, or a reference. A key in plain sight is refused."""
    if not isinstance(value, dict):
        return {} if value is None else value
    return {name: _variable(name, given) for name, given in value.items()}


def _variable(name: Any, given: Any) -> Any:
    if not isinstance(name, str) or not names_a_variable(name):
        raise fixable(
            "holds a key that is not the name of an environment variable",
            "letters, digits and '_', as in NCCL_DEBUG: INFO",
        )
    reference = f"{name}: {{value_from: {{secret_name_ref: SECRET}}}}"
    if isinstance(given, dict):
        if _names_a_secret(given):
            return given
        if list(given) != ["value"]:  # Lepton's own form of text
            raise fixable(
                f"{name} is neither text nor a reference to a secret", f"write {reference}"
            )
        given = given["value"]
    return given


def _names_a_secret(given: dict[str, Any]) -> bool:
    source = given.get("value_from")
    if list(given) != ["value_from"] or not isinstance(source, dict):
        return False
    return list(source) == ["secret_name_ref"] and bool(source["secret_name_ref"])


# --- tokens of endpoints ------------------------------------------------------------------------


@dataclass(frozen=True)
class Token:
    """A token that an endpoint takes. Its value is in no file and in no spec.

    variable  that holds its value here, and where the benchmarks run
    secret    of the workspace, as the config names it; None: we make one of the variable's value
    """

    variable: str
    secret: str | None


def tokens_of(
    wanted: Iterable[ApiToken], job_variables: Mapping[str, Any], key_name: str | None
) -> list[Token]:
    """The tokens of an endpoint; the benchmarks use the first. An endpoint without a token is open
    to anyone, so one for which the config names none has one of its own.

    job_variables  of the benchmarks' jobs: `lepton_platform.tasks.env_vars`
    key_name       `target.api_endpoint.api_key_name`
    """
    found: list[Token] = []
    for token in wanted:
        if token.value_from:
            secret = token.value_from.token_name_ref
            found.append(Token(_holds(secret, job_variables) or _as_variable(secret), secret))
        elif token.value and token.value != UNIQUE:
            found.append(Token(token.value.removeprefix("host:"), None))
    if not found:
        return [Token(key_name or OWN_TOKEN, None)]
    if key_name:
        found[0] = Token(key_name, found[0].secret)
    return found


def _holds(secret: str, job_variables: Mapping[str, Any]) -> str | None:
    """The variable of the benchmarks' jobs that is filled from a secret."""
    for name, value in job_variables.items():
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
