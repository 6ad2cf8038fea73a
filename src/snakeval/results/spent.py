"""Tokens that a benchmark has used at endpoints beside the model's, as its gateway has counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snakeval.job.files import read_json
from snakeval.job.gateway.ledger import MODEL
from snakeval.job.gateway.tally import live
from snakeval.plan.run import Task

Tokens = dict[str, float]
"""prompt_tokens and completion_tokens; those that are known."""


def tokens_beside(task: Task) -> dict[str, Tokens]:
    """By endpoint, over all attempts; without a result, what was told last."""
    accounts = read_json(task.paths.check(task.digest)).get("gateway")
    return in_accounts(accounts) or in_accounts(
        live(task.paths.record(task.digest)).get("endpoints")
    )


def in_accounts(accounts: Any) -> dict[str, Tokens]:
    """The same, from the accounts in a check.json, or the sums so far."""
    found = accounts.items() if isinstance(accounts, Mapping) else ()
    return {str(name): _tokens(each) for name, each in found if name != MODEL}


def _tokens(account: Any) -> Tokens:
    """None of them where the endpoint has not told those of each answer."""
    account = account if isinstance(account, Mapping) else {}
    given = account.get("tokens")
    if not account.get("answered"):
        return {"prompt_tokens": 0.0, "completion_tokens": 0.0}
    if account.get("uncounted") or not isinstance(given, Mapping):
        return {}
    known = {f"{kind}_tokens": given.get(kind) for kind in ("prompt", "completion")}
    return {kind: float(n) for kind, n in known.items() if isinstance(n, int | float)}
