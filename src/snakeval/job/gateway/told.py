"""What a result says of the requests behind it: totals, sentences, and what refuses a score.

Pure functions of the accounts of a ledger. Standard library only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from ..text import one_line
from .accounts import ARROW, Account
from .ledger import MODEL

USUAL_ENDS = ("stop", "tool_calls", "function_call", "length", "unknown")
TOKENS = ("prompt", "completion")
TOLERATED = 0.05
"""Share by which two counts may differ without a word: means are rounded, and who hangs up does not
count what comes."""
SHOWN = 3
"""Models, or ends of answers, that one sentence names."""


def totals(account: Account) -> dict[str, float]:
    """Tokens, times (ms) and speeds of a task, by the names that its harness's own have; only what
    is known."""
    found: dict[str, float] = {
        "requests": account.requests - account.replayed,
        "answers": account.answered,
        "replayed": account.replayed,
    }
    if account.answered and not account.uncounted:
        found |= {f"{kind}_tokens": account.tokens[kind] for kind in account.tokens}
    for name, seconds in account.latency.items():
        found[f"{NAMES.get(name, name)}_latency_ms"] = round(1000 * seconds, 1)
    if "median" in account.first_byte:
        found["median_first_byte_ms"] = round(1000 * account.first_byte["median"], 1)
    speeds = {
        "answers_per_second": account.answers_per_second,
        "tokens_per_second": account.tokens_per_second,
    }
    return found | {name: round(speed, 4) for name, speed in speeds.items() if speed is not None}


NAMES = {"mean": "avg"}
"""Of quantiles, where harnesses have another word for them."""


def without_gateway(reasons: Iterable[str]) -> list[str]:
    """reasons: why attempts went without one."""
    return [
        one_line(f"no gateway ({why}): its requests are known as far as the harness tells them")
        for why in reasons
    ]


def several_models(account: Account) -> str | None:
    """The cause where answers to one model's name came from several models; else None.

    What an endpoint calls the model may be another name of it; when that changes, so has the model.
    """
    if not account.is_mixed:
        return None
    asked, _, named = max(account.other_models).partition(ARROW)
    others = sum(account.other_models.values())
    return one_line(
        f"{others} of {others + account.as_asked} answers name another model than the rest "
        f"('{named}', asked for '{asked}'): the model was changed on the way; start again to ask "
        "those anew, or set target.api_endpoint.check_model to false where that is meant"
    )


def notes(name: str, account: Account) -> Iterator[str]:
    """What a reader of the scores must be told of the answers, a sentence each.

    name  of the endpoint
    """
    of = "" if name == MODEL else f" of '{name}'"
    all_answers = account.answered
    if account.sources:
        whose = ", ".join(_most(account.sources))
        count = sum(account.sources.values())
        yield (
            f"{count} answers{of} were not asked for again but taken from {whose}, given "
            f"{_period(account.given)}; {account.requests - account.replayed} requests were made"
        )
    if account.other_models:
        named = ", ".join(f"'{each.partition(ARROW)[2]}'" for each in _most(account.other_models))
        yield one_line(f"answers{of} name another model than the one asked for: {named}")
    if account.all_cut:
        yield f"every answer{of} was cut for length: it may be too short to hold what is scored"
    elif cut := account.finish.get("length", 0):
        yield f"{cut} of {all_answers} answers{of} were cut for length"
    if account.all_equal:
        yield f"all {all_answers} answers{of} say the same"
    if account.empty:
        yield f"{account.empty} of {all_answers} answers{of} are empty"
    odd = {end: n for end, n in account.finish.items() if not _is_usual(end)}
    if odd:
        told = ", ".join(f"'{end}': {odd[end]}" for end in _most(odd))
        yield one_line(f"answers{of} ended for unusual reasons ({told})")


def not_as_counted(
    account: Account | None, scored: int | None, totals: Mapping[str, float], spared: float = 0.0
) -> Iterator[str]:
    """Where a harness's own counts and the ledger differ in a way that matters, a sentence each.

    account  of the model; None: it was asked nothing
    scored   samples, as the harness has it; None: unknown
    totals   the harness's own
    spared   share of the samples that need no request of their own: equal ones, which a cache of
             the harness's spares
    """
    account = account or Account()
    got = account.harness_got
    known = got["parts"] + account.unanswered
    if scored and not got["other"] and known < scored * (1 - spared):
        came = f"only {got['parts']} answers" if got["parts"] else "no answer"
        yield (
            f"{scored} samples were scored, but {came} of the model came through the gateway: the "
            "others were scored without one, or asked for elsewhere"
        )
    counted = {"requests": totals.get("requests", 0.0)} if got["requests"] else {}
    if not (got["replayed"] or account.uncounted):
        counted |= {f"{kind} tokens": totals.get(f"{kind}_tokens", 0.0) for kind in TOKENS}
    for what, theirs in counted.items():
        ours = got[what.partition(" ")[0]] + (got["other"] if what == "requests" else 0)
        is_more = theirs > ours * (1 + TOLERATED)
        # Requests that the harness has given up or was refused are in the ledger alone.
        if theirs and (is_more or (what != "requests" and theirs < ours * (1 - TOLERATED))):
            yield f"the harness counts {theirs:,.0f} {what}, the gateway {ours:,}"


def _period(given: tuple[float, float] | None) -> str:
    """`2026-11-20`, `2026-11-20 to 2026-11-22` (UTC)."""
    days = [time.strftime("%Y-%m-%d", time.gmtime(each)) for each in given or ()]
    return " to ".join(dict.fromkeys(days)) or "at an unknown time"


def _is_usual(end: str) -> bool:
    return all(each in USUAL_ENDS for each in end.split(","))


def _most(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda each: (-counts[each], each))[:SHOWN]
