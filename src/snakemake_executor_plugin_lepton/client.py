"""The calls to the service, each with a time-out, its errors sorted by what they mean.

The SDK retries nothing, and waits for two minutes: so what may be tried again is told apart here
from what may not. This is the plugin's only module that imports it.
"""

from __future__ import annotations

import itertools
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
REFUSALS = 3
"""Times that a token which is not taken is tried again: a service may stumble over it once."""
LONGEST_LOG = 1_000_000
"""Bytes of a log that are kept, from its end."""

ALL = "alive_and_archive"
"""Jobs that have ended, too."""

T = TypeVar("T")


class ServiceError(Exception):
    """A call that failed; the text says why."""


class Denied(ServiceError):
    """The token may not do this; the text is the service's own."""


class Unauthorized(Denied):
    """The token is not taken: it has expired, or the service could not look it up."""


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
    """A job that the service has.

    created  seconds since 1970, by the service's clock
    state    in the service's own word
    """

    id: str
    name: str
    phase: Phase
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    state: str = ""


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

    def renew(self) -> None:
        """Takes the token that is known here now: somebody may have logged in again."""
        ...


class Lepton:
    """The service. Raises ServiceError where no workspace or token is known.

    Jobs are created by the SDK, which looks at what it sends. They are asked for here: the SDK
    waits two minutes for an answer, and leaves out of a list what its types do not know.
    """

    def __init__(self, timeout: float = TIMEOUT) -> None:
        import logging

        import requests

        logging.getLogger("urllib3").setLevel(logging.ERROR)
        self._client = connected()
        self._session = requests.Session()
        self._timeout = timeout

    def renew(self) -> None:
        self._client = connected()

    @property
    def workspace(self) -> str:
        return str(self._client.workspace_id)

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
        answer = self._call("GET", f"/jobs/{job}", params={"job_query_mode": ALL})
        return asked(lambda: _found(answer.json()).phase)

    def find(self, labels: Mapping[str, str]) -> list[Found]:
        query = ",".join(f"{name}={value}" for name, value in labels.items())
        found: dict[str, Found] = {}
        for page in itertools.count(1):
            params = {"job_query_mode": ALL, "query": query, "page": page, "page_size": 500}
            answer = self._call("GET", "/jobs", params=params)
            new = {job.id: job for job in asked(lambda answer=answer: _listed(answer.json()))}  # type: ignore[misc]
            if new.keys() <= found.keys():
                break
            found |= new
        # A service that does not know the selector gives all jobs.
        return [job for job in found.values() if labels.items() <= job.labels.items()]

    def stop(self, job: str) -> None:
        self._call("PATCH", f"/jobs/{job}", json={"spec": {"stopped": True}})

    def delete(self, job: str) -> None:
        self._call("DELETE", f"/jobs/{job}", params={"job_query_mode": ALL})

    def log(self, job: str) -> str:
        answer = self._call("GET", f"/jobs/{job}/replicas", params={"job_query_mode": ALL})
        replicas = asked(lambda: [_id_of(each) for each in answer.json()])
        return "\n".join(self._replica_log(job, replica) for replica in replicas)

    def _replica_log(self, job: str, replica: str) -> str:
        response = self._call("GET", f"/jobs/{job}/replicas/{replica}/log", stream=True)
        deadline = time.monotonic() + TIMEOUT
        kept = b""
        try:
            for chunk in response.iter_content(chunk_size=65536):
                kept = (kept + chunk)[-LONGEST_LOG:]
                if time.monotonic() > deadline:  # the log of a job that still runs has no end
                    break
        except OSError as error:  # cut, or silent for as long as a call may take
            if not kept:
                raise Unreachable(_line(error)) from None
        finally:
            response.close()
        return kept.decode(errors="replace")

    def _call(self, method: str, path: str, **more: Any) -> Any:
        return answer_of(
            self._client, method, path, session=self._session, timeout=self._timeout, **more
        )

    def secrets(self) -> set[str]:
        return {secret.name for secret in asked(self._client.secret.list_all)}

    def node_groups(self) -> dict[str, str]:
        groups = [group.metadata for group in asked(self._client.nodegroup.list_all)]
        return {str(name): str(group.id_) for group in groups for name in (group.name, group.id_)}


def connected() -> Any:
    """The SDK's client, with the workspace and token that are known here now. Raises Denied where
    there are none."""
    try:
        from leptonai.api.v2.client import APIClient
        from leptonai.api.v2.workspace_record import WorkspaceRecord

        WorkspaceRecord.reload()  # somebody may have logged in since it was read
        return APIClient()
    except ImportError:
        raise
    except Exception as error:
        # Without a token the SDK ends in a TypeError of its own; with a file of `lep login`
        # that it cannot read, in any.
        raise Denied(
            "no workspace and token of Lepton are known here: `lep login`, or set "
            "LEPTON_WORKSPACE_ID and LEPTON_WORKSPACE_TOKEN"
        ) from error


def answer_of(client: Any, method: str, path: str, session: Any = None, **more: Any) -> Any:
    """What the service answers, as the `Response` of `requests`; ServiceError where it is an error.

    client   the SDK's, for workspace and token
    session  of `requests`, to keep connections
    more     for `requests`
    """
    import requests

    headers = {"Authorization": f"Bearer {client.auth_token}"}
    if client.workspace_origin_url:
        headers["origin"] = client.workspace_origin_url
    url, ask = f"{client.url}{path}", (session or requests).request
    response = asked(lambda: ask(method, url, headers=headers, **{"timeout": TIMEOUT, **more}))
    if response.status_code >= 400:
        raise _sorted(response)
    return response


def _found(said: Any) -> Found:
    """A job as the service tells of it. A KeyError or the like: that is none."""
    metadata, status = said["metadata"], said.get("status") or {}
    return Found(
        id=str(metadata["id"]),
        name=str(metadata.get("name") or metadata["id"]),
        phase=phase_of(status.get("state")),
        labels=metadata.get("labels") or {},
        created=(metadata.get("created_at") or 0) / 1000,
        state=str(status.get("state") or ""),
    )


def _id_of(replica: Any) -> str:
    return str((replica.get("metadata") or {}).get("id") or replica["id"])


def _listed(said: Any) -> list[Found]:
    return [_found(each) for each in (said.get("jobs") or [] if isinstance(said, dict) else said)]


def asked(call: Callable[[], T]) -> T:
    """Makes a call of the SDK; sorts what it raises into ServiceErrors."""
    import requests
    from leptonai.api.v2.api_resource import ClientError, ServerError
    from leptonai.api.v2.utils import WorkspaceError, WorkspaceUnauthorizedError
    from pydantic import ValidationError

    try:
        return call()
    except (ClientError, ServerError) as error:
        raise _sorted(error.response) from None
    except WorkspaceError as error:  # its text has the ends of the token
        kind = Unauthorized if isinstance(error, WorkspaceUnauthorizedError) else Denied
        raise kind(_line(error.args[0])) from None
    except requests.exceptions.InvalidHeader:  # its text has the token
        text = "it has a line break or a space at an end; write it anew"
        raise Unauthorized(text) from None
    except requests.exceptions.Timeout:
        raise Unreachable("no answer in time") from None
    except requests.exceptions.RequestException as error:
        raise Unreachable(_line(error)) from None
    except ServiceError:
        raise
    except ValidationError as error:  # an answer of another shape; specs were looked at before
        raise Unreachable(f"an answer that cannot be understood ({_line(error)})") from None
    except ValueError as error:  # the SDK's own look at a spec
        raise Rejected(_line(error)) from None
    except Exception as error:  # an answer that is none: the SDK calls it a programming error
        raise Unreachable(f"an answer that cannot be understood ({_line(error)})") from None


def _sorted(response: Any) -> ServiceError:
    retry_after = response.headers.get("Retry-After")
    return error_of(int(response.status_code), response.text, retry_after)


def error_of(status: int, said: str, retry_after: str | None = None) -> ServiceError:
    """What an answer with an error status means.

    said  its body
    """
    text = f"{status}: {_line(_message(said))}".removesuffix(": ")
    if status == 401:
        return Unauthorized(text)
    if status == 403:
        return Denied(text)
    if status in (404, 410):
        return Missing(text)
    if status in (408, 425, 429) or status >= 500:
        return Unreachable(text, _seconds(retry_after))
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


def in_words(error: ServiceError) -> str:
    """What a refusal means for who waits, with the service's own words."""
    if isinstance(error, Unauthorized):
        return (
            f"Lepton does not take the token ({error}): `lep login` again, or correct "
            "LEPTON_WORKSPACE_TOKEN"
        )
    if isinstance(error, Denied):
        return f"Lepton does not allow it ({error})"
    return f"Lepton cannot be asked: {error}"


def patiently(
    call: Callable[[], T],
    patience: float = QUESTION_PATIENCE,
    ended: threading.Event | None = None,
) -> T:
    """Repeats a call, with longer and longer pauses, while the service does not answer it, and a
    few times where it does not take the token.

    patience  seconds
    ended     nobody waits any more once it is set
    Raises ServiceError: Unreachable when nobody waits any more, others at once.
    """
    from tenacity import RetryCallState, Retrying, wait_exponential

    longer = wait_exponential(multiplier=0.5, max=15)

    def again(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        refused = isinstance(error, Unauthorized) and state.attempt_number <= REFUSALS
        return refused or isinstance(error, Unreachable)

    def left(state: RetryCallState) -> float:
        return patience - (state.seconds_since_start or 0)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return min(max(longer(state), getattr(error, "wait", 0.0)), left(state))

    def pause(seconds: float) -> None:
        if (ended or threading.Event()).wait(seconds):
            raise Unreachable("nobody waits for the answer any more")

    return Retrying(
        retry=again,
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
    A token that is not taken is asked for again, for as long as a question is repeated.
    Returns the job's id, and whether an answer was lost on the way: a creation that the service
    carries out very late may still make another one. Raises ServiceError: Unreachable where
    nobody knows whether there is a job.
    """
    return _Creation(service, body, labels, stopped, pause, patience).made()


@dataclass
class _Creation:
    """What `create_once` does; `lost`: whether an answer was."""

    service: Service
    body: dict[str, Any]
    labels: Mapping[str, str]
    stopped: Callable[[], bool]
    pause: Callable[[float], object]
    patience: float
    lost: bool = False
    _wait: float = 1.0
    _began: float = field(default_factory=time.monotonic)

    def made(self) -> tuple[str, bool]:
        while True:
            try:
                return self.service.create(self.body), self.lost
            except Unauthorized as error:  # not carried out
                self._take_the_token_again(error)
            except Unreachable as error:
                self.lost = True
                if found := self._looked_for(error):
                    return found, True
            except ServiceError as error:
                raise self._as_known(error) from None

    def _take_the_token_again(self, error: Unauthorized) -> None:
        """Raises what ends the creation."""
        waited = time.monotonic() - self._began
        if self.lost or waited > min(self.patience, QUESTION_PATIENCE) or self.stopped():
            raise self._as_known(error) from None
        self._pause()
        self.service.renew()

    def _looked_for(self, last: Unreachable) -> str:
        """The job that is there although its answer was lost; others are deleted. Empty: there is
        none. Raises Unreachable where nobody can say."""
        while True:
            if time.monotonic() - self._began > self.patience or self.stopped():
                raise self._as_known(last)
            self._pause(last.wait)
            try:
                found = self.service.find(self.labels)
                break
            except Unreachable as error:
                last = error
            except ServiceError as error:
                raise self._as_known(error) from None
        if not found:
            return ""
        first, *others = sorted(found, key=lambda job: job.created)
        for other in others:
            self.service.delete(other.id)
        return first.id

    def _pause(self, at_least: float = 0.0) -> None:
        self.pause(max(self._wait, at_least))
        self._wait = min(self._wait * 2, 30.0)

    def _as_known(self, error: ServiceError) -> ServiceError:
        """An error as it is; after a lost answer, that nobody knows whether there is a job."""
        if not self.lost:
            return error
        named = ", ".join(f"{name}={value}" for name, value in self.labels.items())
        return Unreachable(f"{error} (whether the job was made is not known; its labels: {named})")
