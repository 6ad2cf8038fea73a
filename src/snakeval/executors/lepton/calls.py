"""Calls to Lepton's endpoint API, repeated while the service does not answer them.

What an answer means, and when a call is repeated, is decided in the executor plugin's client; here
it is told to people. The SDK is imported only when an endpoint is wanted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from snakemake_executor_plugin_lepton import client as plugin
from snakemake_executor_plugin_lepton.client import (
    Denied,
    ServiceError,
    Unreachable,
    answer_of,
    asked,
)

PATIENCE = 120.0
"""Seconds for which a call is repeated."""
NO_CREDENTIALS = (
    "`lep login -c WORKSPACE:TOKEN`, or export LEPTON_WORKSPACE_ID and LEPTON_WORKSPACE_TOKEN"
)

Answer = TypeVar("Answer")


class GivenUp(ServiceError):
    """What was wanted of Lepton cannot be had; why."""


def in_words(error: Exception) -> str:
    """What the service said, in one line, and what to do about it."""
    if isinstance(error, Denied):
        return plugin.in_words(error)
    return str(error) or type(error).__name__


def patiently(
    call: Callable[[], Answer],
    what: str,
    patience: float | None = None,
    ended: threading.Event | None = None,
    settled: type[ServiceError] | tuple[()] = (),
) -> Answer | None:
    """Makes a call of the SDK, again and again while the service does not answer.

    what      is done, for the message
    patience  seconds; None: PATIENCE
    ended     nobody waits any more once it is set
    settled   a refusal that says that nothing need be done: None is returned
    Raises GivenUp when the service has not answered in time, and other ServiceErrors at once.
    """
    patience = PATIENCE if patience is None else patience
    try:
        return plugin.patiently(lambda: asked(call), patience, ended)
    except settled:
        return None
    except Unreachable as error:
        if ended is not None and ended.is_set():
            raise GivenUp(f"{what}: stopped") from None
        raise GivenUp(
            f"{what}: Lepton does not answer as it should for {patience:.0f} s ({error})"
        ) from None


def connect() -> Any:
    """The SDK's client, with the credentials that are known here now. Raises GivenUp where there
    are none."""
    os.environ.setdefault("LEPTON_LOG_LEVEL", "ERROR")
    try:
        return plugin.connected()
    except ServiceError as error:
        raise GivenUp(f"no credentials for Lepton: {NO_CREDENTIALS}") from error


def family_of(client: Any, ended: threading.Event | None = None) -> Any:
    """The family of the endpoint API that the workspace has, once it has said which.

    The SDK takes the older one for good when the workspace does not answer at first.
    """
    from leptonai.api.v2.client import reset_new_deployment_api_flag_cache

    # Not client.info(): of a refusal it keeps no word of the service's.
    features: Any = patiently(
        lambda: answer_of(client, "GET", "/workspace").json().get("features") or {},
        "asking the workspace",
        ended=ended,
    )
    newer = features.get("enable_new_deployment_api") is True
    for _ in range(5):
        if client.new_deployment_api_enabled == newer:
            return client.deployment
        reset_new_deployment_api_flag_cache(client.url)
    raise GivenUp("asking the workspace: it does not say which endpoint API it has")
