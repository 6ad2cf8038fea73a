"""The calls to the service, each with a time-out, its errors sorted by what they mean.

The SDK retries nothing, and waits for two minutes: so what may be tried again is told apart here
from what may not. This is the plugin's only module that imports it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from snakemake_executor_plugin_lepton.states import Phase, phase_of

TIMEOUT = 20.0
"""Seconds that a call may take."""
PATIENCE = 300.0
"""Seconds that a creation is tried for."""
QUESTION_PATIENCE = 30.0
"""Seconds that a question before the start is repeated for."""
LONGEST_LOG = 1_000_000
"""Bytes of a log that are kept, from its end."""

T = TypeVar("T")


class ServiceError(Exception):
    """A call that failed; the text says why."""


class Denied(ServiceError):
    """The token is not taken, or may not do this."""


class Missing(ServiceError):
    """There is no such thing."""


class Rejected(ServiceError):
    """The request is wrong; again it would be."""


class Conflict(Rejected):
    """There is one of that name already."""


class Unreachable(ServiceError):
    """No answer, or none that says anything: the call may have been carried out or not.

    wait  seconds that the service asks for before the next call
    """

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


@dataclass(frozen=True)
class Found:
    """A job that the service has."""

    id: str
    name: str
    phase: Phase
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0


class Service(Protocol):
    """The calls, each of them tried once. They raise ServiceError."""

    def create(self, body: dict[str, Any]) -> str:
        """The new job's id."""
        ...

    def phase(self, job: str) -> Phase: ...

    def find(self, labels: Mapping[str, str]) -> list[Found]:
        """Jobs with these labels, ended ones too."""
        ...

    def stop(self, job: str) -> None: ...

    def delete(self, job: str) -> None: ...

    def log(self, job: str) -> str: ...

    def secrets(self) -> set[str]: ...

    def node_groups(self) -> dict[str, str]:
        """Ids by name, and by id."""
        ...


class Lepton:
    """The service, through its SDK. Raises ServiceError where no workspace or token is known."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        import logging

        logging.getLogger("urllib3").setLevel(logging.ERROR)
        try:
            from leptonai.api.v2.client import APIClient

            self._client = APIClient()
        except ImportError:
            raise
        except Exception as error:
            # Without a token the SDK ends in a TypeError of its own; with a file of `lep login`
            # that it cannot read, in any.
            raise Denied(
                "no workspace and token of Lepton are known here: `lep login`, or set "
                "LEPTON_WORKSPACE_ID and LEPTON_WORKSPACE_TOKEN"
            ) from error
        self._client._timeout = timeout

    @property
    def workspace(self) -> str:
        return str(self._client.workspace_id)

    @property
    def sdk(self) -> Any:
        """The SDK's own client, for what is not about jobs."""
        return self._client

    def create(self, body: dict[str, Any]) -> str:
        from leptonai.api.v2.types.job import LeptonJob

        try:
            job = LeptonJob(**body)
        except ValueError as error:
            raise Rejected(str(error)) from None
        made = asked(lambda: self._client.job.create(job))
        if not made.metadata.id_:
            raise Unreachable("the service has given the job no id")
        return str(made.metadata.id_)

    def phase(self, job: str) -> Phase:
        found = asked(lambda: self._client.job.get(job))
        return phase_of(found.status.state.value if found.status and found.status.state else None)

    def find(self, labels: Mapping[str, str]) -> list[Found]:
        query = ",".join(f"{name}={value}" for name, value in labels.items())
        jobs = asked(
            lambda: self._client.job.list_all(job_query_mode="alive_and_archive", query=query)
        )
        found = [
            Found(
                str(job.metadata.id_),
                str(job.metadata.name or job.metadata.id_),
                phase_of(job.status.state.value if job.status and job.status.state else None),
                job.metadata.labels or {},
                (job.metadata.created_at or 0) / 1000,
            )
            for job in jobs
        ]
        # A service that does not know the selector gives all jobs.
        return [job for job in found if labels.items() <= job.labels.items()]

    def stop(self, job: str) -> None:
        asked(lambda: self._client.job.update(job, {"spec": {"stopped": True}}))

    def delete(self, job: str) -> None:
        asked(lambda: self._client.job.delete(job, job_query_mode="alive_and_archive"))

    def log(self, job: str) -> str:
        texts = []
        for replica in asked(lambda: self._client.job.get_replicas(job)):
            texts.append(asked(lambda replica=replica: self._replica_log(job, replica)))  # type: ignore[misc]
        return "\n".join(texts)

    def _replica_log(self, job: str, replica: Any) -> str:
        # Not get_log: it ends at a character that two chunks share.
        path = f"/jobs/{job}/replicas/{replica.metadata.id_ or replica.id_}/log"
        response = self._client._get(path, stream=True, timeout=TIMEOUT)
        self._client.job.ensure_ok(response)
        deadline = time.monotonic() + TIMEOUT
        kept = b""
        try:
            for chunk in response.iter_content(chunk_size=65536):
                kept = (kept + chunk)[-LONGEST_LOG:]
                if time.monotonic() > deadline:  # the log of a job that still runs has no end
                    break
        except OSError:  # cut, or silent for as long as a call may take
            if not kept:
                raise
        finally:
            response.close()
        return kept.decode(errors="replace")

    def secrets(self) -> set[str]:
        return {secret.name for secret in asked(self._client.secret.list_all)}

    def node_groups(self) -> dict[str, str]:
        groups = [group.metadata for group in asked(self._client.nodegroup.list_all)]
        return {str(name): str(group.id_) for group in groups for name in (group.name, group.id_)}


def asked(call: Callable[[], T]) -> T:
    """Makes a call of the SDK; sorts what it raises into ServiceErrors."""
    import requests
    from leptonai.api.v2.api_resource import ClientError, ServerError
    from leptonai.api.v2.utils import WorkspaceError

    try:
        return call()
    except (ClientError, ServerError) as error:
        raise _sorted(error.response) from None
    except WorkspaceError as error:  # its text has the ends of the token
        raise Denied(_line(error.args[0])) from None
    except requests.exceptions.InvalidHeader:  # its text has the token
        raise Denied("the token has a line break or a space at an end; write it anew") from None
    except requests.exceptions.Timeout:
        raise Unreachable("no answer in time") from None
    except requests.exceptions.RequestException as error:
        raise Unreachable(_line(error)) from None
    except ServiceError:
        raise
    except ValueError as error:  # the SDK's own look at a spec
        raise Rejected(_line(error)) from None
    except Exception as error:  # an answer that is none: the SDK calls it a programming error
        raise Unreachable(f"an answer that cannot be understood ({_line(error)})") from None


def _sorted(response: Any) -> ServiceError:
    status = int(response.status_code)
    text = f"{status}: {_line(_message(response.text))}".removesuffix(": ")
    if status in (401, 403):
        return Denied(text)
    if status in (404, 410):
        return Missing(text)
    if status in (408, 425, 429) or status >= 500:
        return Unreachable(text, _seconds(response.headers.get("Retry-After")))
    return (Conflict if status == 409 else Rejected)(text)


def _message(text: str) -> str:
    """What an answer says: the service's own errors have a `message`, a proxy's have not."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text


def _seconds(text: str | None) -> float:
    return min(float(text), 120.0) if text and text.isdigit() else 0.0


def _line(text: object) -> str:
    return " ".join(str(text).split())[:300]


def patiently(
    call: Callable[[], T],
    patience: float = QUESTION_PATIENCE,
    ended: threading.Event | None = None,
) -> T:
    """Repeats a call, with longer and longer pauses, while the service does not answer it.

    patience  seconds
    ended     nobody waits any more once it is set
    Raises ServiceError: Unreachable when nobody waits any more, others at once.
    """
    from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

    longer = wait_exponential(multiplier=0.5, max=15)

    def left(state: RetryCallState) -> float:
        return patience - (state.seconds_since_start or 0)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return min(max(longer(state), getattr(error, "wait", 0.0)), left(state))

    def pause(seconds: float) -> None:
        if (ended or threading.Event()).wait(seconds):
            raise Unreachable("nobody waits for the answer any more")

    return Retrying(
        retry=retry_if_exception_type(Unreachable),
        stop=lambda state: longer(state) > left(state),
        wait=wait,
        sleep=pause,
        reraise=True,
    )(call)


def create_once(
    service: Service,
    body: dict[str, Any],
    labels: Mapping[str, str],
    stopped: Callable[[], bool],
    pause: Callable[[float], object] = time.sleep,
    patience: float = PATIENCE,
) -> tuple[str, bool]:
    """Creates a job, and never a second one: before trying again it is looked for by its labels.

    labels   of this one job, used once
    stopped  whether it is not wanted any more
    Returns the job's id, and whether an answer was lost on the way: a creation that the service
    carries out very late may still make another one. Raises ServiceError: Unreachable where
    nobody knows whether there is a job.
    """

    def unknown(error: ServiceError) -> Unreachable:
        return Unreachable(
            f"{error} (whether the job was made is not known; its labels: "
            f"{', '.join(f'{name}={value}' for name, value in labels.items())})"
        )

    deadline = time.monotonic() + patience
    wait, lost = 1.0, False
    while True:
        try:
            return service.create(body), lost
        except Unreachable as error:
            last, lost = error, True
        except ServiceError as error:
            if lost:
                raise unknown(error) from None
            raise
        while True:  # the answer may be lost, and the job be there
            if time.monotonic() > deadline or stopped():
                raise unknown(last)
            pause(max(wait, last.wait))
            wait = min(wait * 2, 30.0)
            try:
                found = service.find(labels)
                break
            except Unreachable as error:
                last = error
            except ServiceError as error:
                raise unknown(error) from None
        if found:
            first, *others = sorted(found, key=lambda job: job.created)
            for other in others:
                service.delete(other.id)
            return first.id, True
