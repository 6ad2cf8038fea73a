"""Secrets that stand in a config: everything in it is written into the run folder, so that they
are refused unless `allow_inline_secrets: true` says that this is meant.

A text is taken for a secret by what it looks like (a key, a password in a URL, `Bearer ...`), by
the key that it stands at (`Authorization`, `password`), or, for `${oc.env:NAME}`, by the name of
the variable (`..._TOKEN`). docs/configuration.md has the rule.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel

from snakeval.config.index import field_at
from snakeval.config.sections import Instead, Named
from snakeval.config.source import VARIABLE, looks_like_a_key
from snakeval.config.texts import Loc, Where, texts_of
from snakeval.errors import Problem
from snakeval.job.redact import BASIC, FORMS, forms_of, hide

BEARER_ALONE = re.compile(r"Bearer\s+(?P<secret>[^\s$]\S*)\s*\Z", re.IGNORECASE)

HOLD_SECRETS = re.compile(
    r"(^|_)(authorization|password|passwd|passphrase|secret|apikey|cookie|credentials?"
    r"|(api|access|private|secret|subscription|account)_key"
    r"|(auth|access|api|hf|bearer|refresh|session|id)_token)\Z"
)
"""Keys (in lower case, with '_') whose values are secrets."""

SECRET_NAMES = re.compile(
    r"(^|_)(KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASS|CREDENTIALS?|CREDS?|AUTH"
    r"|AUTHORIZATION|BEARER|COOKIE|JWT|PAT)(_ID|_?\d+)?\Z|SECRET|PASSWORD|(?<=_)PWD\Z",
    re.IGNORECASE,
)
"""Names of variables that hold secrets."""

VARIABLES = {"env_vars", "envs"}
"""Sections of variables, whose values have forms of their own: `host:NAME`."""

FROM_ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\s*:\s*([^,}\s]+)")
RANDOM = re.compile(r"(?=.*[A-Za-z])(?=.*[0-9])[A-Za-z0-9_+=-]{20,}\Z")
"""A value that nobody has thought up: no path, no name of a person."""

INSIST = "or write `allow_inline_secrets: true` if everyone who can read the run folder may know it"
NAME_IT = "put it into an environment variable and name that: `env_vars: {NAME: host:NAME}`"


def secrets_in(text: str) -> Iterator[tuple[str, str]]:
    """What in a text looks like a secret: in words, and the secret itself."""
    for plain in dict.fromkeys((text, unquote(text))):
        for words, form in FORMS.items():
            for found in form.finditer(plain):
                yield words, next(filter(None, found.groupdict().values()))
    if alone := BEARER_ALONE.match(text):
        yield "a token after the word Bearer", alone["secret"]
    for found in BASIC.finditer(text):
        if _is_user_and_password(found["secret"]):
            yield "a password after the word Basic", found["secret"]


def _is_user_and_password(text: str) -> bool:
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    return b":" in decoded and decoded.isascii()


def _asks_for_a_name(loc: Loc, model: type[BaseModel]) -> bool:
    field = field_at(model, loc)
    return field is not None and any(isinstance(mark, Named) for mark in field.metadata)


def _is_one_at(loc: Loc, text: str, model: type[BaseModel]) -> bool:
    """Whether a text is a secret because of the key that it stands at."""
    if VARIABLES & set(loc[:-1]):
        return looks_like_a_key(text.removeprefix("host:"))
    return _holds_secrets(loc, model) and _is_a_value(text)


def _holds_secrets(loc: Loc, model: type[BaseModel]) -> bool:
    """Whether a key is one whose value is a secret. The model's own keys ask for names."""
    if field_at(model, loc) is not field_at(model, loc[:-1]):
        return False
    keys = [part for part in loc if isinstance(part, str)]
    return bool(keys and HOLD_SECRETS.search(re.sub(r"\W", "_", keys[-1].lower())))


def _is_a_value(text: str) -> bool:
    """Whether a text is more than the name of a variable, or a word that stands for none."""
    return len(text) >= 4 and not VARIABLE.match(text) and "$" not in text


def all_secrets_in(raw: dict[str, Any], model: type[BaseModel]) -> Iterator[tuple[Loc, str, str]]:
    """Every secret of a config: where it stands, what it is in words, the secret itself."""
    for each in texts_of(raw, model):
        if _asks_for_a_name(each.loc, model):
            continue
        found = list(secrets_in(each.text))
        if not found and not each.is_key and _is_one_at(each.loc, each.text, model):
            found = [("a secret", each.text)]
        yield from ((each.loc, words, secret) for words, secret in found)


def inline(raw: dict[str, Any], model: type[BaseModel], where: Where) -> Iterator[Problem]:
    """Secrets that are written in a config. None of them is repeated in the message."""
    if allowed(raw):
        return
    told = set()
    for loc, words, secret in all_secrets_in(raw, model):
        shown = tuple(part for part in loc if not (isinstance(part, str) and secret in part))
        if shown not in told:
            told.add(shown)
            yield Problem(
                where(shown), f"holds {words}, which would be written down", _fix(shown, model)
            )


def _fix(loc: Loc, model: type[BaseModel]) -> str:
    field = field_at(model, loc)
    marks = [mark for mark in field.metadata if isinstance(mark, Instead)] if field else []
    instead = marks[0].words.replace("{key}", str(loc[-1])) if marks else NAME_IT
    return f"{instead}; {INSIST}"


def allowed(raw: dict[str, Any]) -> bool:
    """Whether a config insists on the secrets that stand in it."""
    return raw.get("allow_inline_secrets") is True


def from_the_environment(
    leaves: Iterator[tuple[Loc, Any]], model: type[BaseModel], where: Where
) -> Iterator[Problem]:
    """Interpolations that would copy a secret out of the environment into the run folder."""
    for loc, value in leaves:
        for name in FROM_ENVIRONMENT.findall(value) if isinstance(value, str) else ():
            if "env_vars" in loc[:-1]:
                yield Problem(
                    where(loc),
                    f"the value of {name} would be written down",
                    f"write {loc[-1]}: host:{name}",
                )
            elif _is_secret(name, loc, model):
                by_name = _asks_for_a_name(loc, model)
                instead = _fix(loc, model).replace("NAME", name)
                yield Problem(
                    where(loc),
                    f"the value of {name} would be written down, and it looks like a secret",
                    f"write {loc[-1]}: {name}" if by_name else instead,
                )


def _is_secret(name: str, loc: Loc, model: type[BaseModel]) -> bool:
    value = os.environ.get(name, "")
    return bool(
        SECRET_NAMES.search(name)
        or (_holds_secrets(loc, model) and value != "")
        or any(secrets_in(value))
        or RANDOM.match(value)
    )


def written_in(raw: dict[str, Any], model: type[BaseModel]) -> tuple[str, ...]:
    """The secrets of a config that insists on them."""
    if not allowed(raw):
        return ()
    return tuple(dict.fromkeys(secret for _, _, secret in all_secrets_in(raw, model)))


def without(given: Any, secrets: Sequence[str]) -> Any:
    """A text, or all texts of lists and mappings, without these secrets in any form."""
    if not secrets:
        return given
    if isinstance(given, dict):
        return {without(key, secrets): without(value, secrets) for key, value in given.items()}
    if isinstance(given, list):
        return [without(value, secrets) for value in given]
    if not isinstance(given, str):
        return given
    forms = sorted({form for each in secrets for form in forms_of(each)}, key=len, reverse=True)
    hidden = hide(given.encode(errors="surrogateescape"), forms)
    return hidden.decode(errors="surrogateescape")
