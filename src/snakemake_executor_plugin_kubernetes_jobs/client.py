"""The calls to the API server, each tried once and with a time-out, its errors sorted by what they
mean. This is the plugin's only module that imports the client.

Answers are read as JSON: the client's types refuse what a newer server says.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from snakemake_executor_plugin_kubernetes_jobs.states import Seen, seen
from snakemake_executor_plugin_lepton.client import (
    LONGEST_LOG,
    TIMEOUT,
    Conflict,
    Denied,
    Found,
    Missing,
    Rejected,
    ServiceError,
    Unauthorized,
    Unreachable,
    error_of,
)
from snakemake_executor_plugin_lepton.states import Phase

ATTEMPT = "snakemake-attempt"
"""The label that one job alone has, and its pods."""
IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
NO_CLUSTER = "no cluster is known here: set KUBECONFIG, or write ~/.kube/config"
T = TypeVar("T")


class Full(Rejected):
    """A quota of the namespace has no room for one more job now."""


class Kubernetes:
    """The jobs of one namespace. A job's id is its name. Raises ServiceError where no cluster is
    known, and ImportError without the client."""

    def __init__(self, context: str = "", namespace: str = "", timeout: float = TIMEOUT) -> None:
        self._context, self._timeout = context, timeout
        self._api, known = connected(context)
        self.namespace = namespace or known
        self.told: dict[str, Seen] = {}

    def renew(self) -> None:
        self._api, _ = connected(self._context)

    def create(self, body: dict[str, Any], dry_run: bool = False) -> str:
        """The job's name. It is ours and used once: one that is there already is this one, whose
        answer was lost."""
        how = {"dryRun": "All"} if dry_run else {}
        try:
            self.call("POST", self._jobs(), {"fieldValidation": "Strict", **how}, body)
        except Conflict:
            if not self._is_there(body["metadata"]):
                raise
        except Denied as error:
            if "exceeded quota" in str(error):
                raise Full(str(error)) from None
            raise
        return str(body["metadata"]["name"])

    def _is_there(self, metadata: Mapping[str, Any]) -> bool:
        job = self.call("GET", self._jobs(metadata["name"]))
        given = metadata["labels"].get(ATTEMPT)
        return understood(lambda: bool((job["metadata"].get("labels") or {}).get(ATTEMPT) == given))

    def phase(self, job: str) -> Phase:
        self.told[job] = self.look(job)
        return self.told[job].phase

    def look(self, job: str) -> Seen:
        """How a job is; its pods are asked for only where it does not say so itself."""
        answer = self.call("GET", self._jobs(job))
        alone = understood(lambda: seen(answer, []))
        if alone.phase in (Phase.RUNNING, Phase.COMPLETED, Phase.ENDING):
            return alone
        pods = self.pods({ATTEMPT: job})
        found = understood(lambda: seen(answer, pods))
        if found.phase is Phase.WAITING and not found.reason:
            return Seen(found.phase, self._event_of(job))
        return found

    def find(self, labels: Mapping[str, str]) -> list[Found]:
        answer = self.call("GET", self._jobs(), {"labelSelector": selector(labels)})
        return understood(lambda: [_found(each) for each in answer["items"]])

    def stop(self, job: str) -> None:
        """The job stays, on its way out, until its pods have ended: TERM, and their grace."""
        self.call("DELETE", self._jobs(job), {"propagationPolicy": "Foreground"})

    delete = stop

    def log(self, job: str) -> str:
        pods = self.pods({ATTEMPT: job})
        names = understood(
            lambda: [
                pod["metadata"]["name"]
                for pod in sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"] or "")
            ]
        )
        return "\n".join(self._pod_log(name) for name in names)

    def _pod_log(self, pod: str) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        try:
            return self._text("GET", path, {"tailLines": 2000})[-LONGEST_LOG:]
        except (Missing, Rejected):  # not started, or gone already
            return ""

    def follow(self, pod: str, ended: threading.Event) -> Iterator[str]:
        """A pod's log as it comes, until its container ends. Raises ServiceError."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        answer: Any = self._asked("GET", path, {"follow": "true"}, timeout=None)
        try:
            for chunk in answer.stream(8192):
                if ended.is_set():
                    break
                yield bytes(chunk).decode(errors="replace")
        finally:
            answer.close()

    def pods(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Pods with these labels, ended ones too."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        answer = self.call("GET", path, {"labelSelector": selector(labels)})
        return understood(lambda: list(answer["items"]))

    # --- what jobs refer to ----------------------------------------------------------------------

    def secret_keys(self, name: str) -> set[str]:
        """Keys of a Secret; their values are let go of at once."""
        answer = self.call("GET", f"/api/v1/namespaces/{self.namespace}/secrets/{name}")
        return set(understood(lambda: (answer.get("data") or {}).keys()))

    def has_claim(self, name: str) -> bool:
        path = f"/api/v1/namespaces/{self.namespace}/persistentvolumeclaims/{name}"
        try:
            self.call("GET", path)
        except Missing:
            return False
        return True

    # --- calls -----------------------------------------------------------------------------------

    def _jobs(self, name: str = "") -> str:
        path = f"/apis/batch/v1/namespaces/{self.namespace}/jobs"
        return f"{path}/{name}" if name else path

    def _event_of(self, job: str) -> str:
        """Why a job has no pod: a quota, say, told by an event only."""
        path = f"/api/v1/namespaces/{self.namespace}/events"
        wanted = f"involvedObject.kind=Job,involvedObject.name={job},type=Warning"
        try:
            answer = self.call("GET", path, {"fieldSelector": wanted})
        except Denied:
            return ""
        last = understood(lambda: dict((list(answer["items"]) or [{}])[-1]))
        return ": ".join(str(last[key]) for key in ("reason", "message") if last.get(key))

    def call(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> Any:
        """An answer of the API server, read. Raises ServiceError."""
        text = self._text(method, path, query, body)
        return understood(lambda: json.loads(text))

    def _text(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> str:
        answer = self._asked(method, path, query, body, self._timeout)
        return asked(lambda: bytes(answer.data)).decode(errors="replace")

    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float | None = TIMEOUT,
    ) -> Any:
        """The answer, of which nothing is read. Raises ServiceError."""
        return asked(
            lambda: self._api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=timeout,
            )
        )


def connected(context: str = "") -> tuple[Any, str]:
    """The client, and the namespace that goes with what is known here: a kubeconfig, else the
    account of the pod that this is. Raises Denied where there is neither."""
    from kubernetes.config.config_exception import ConfigException

    from kubernetes import client, config

    configuration = client.Configuration()
    file = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    try:
        if context or any(Path(each).exists() for each in file.split(os.pathsep)):
            config.load_kube_config(
                file, context=context or None, client_configuration=configuration
            )
            namespace = _namespace_of(file, context)
        else:
            config.load_incluster_config(client_configuration=configuration)
            namespace = IN_POD.read_text(encoding="utf-8").strip()
    except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:
        raise Denied(f"{NO_CLUSTER} ({_line(error)})") from None
    configuration.retries = False  # what may be tried again is decided by who asks
    return client.ApiClient(configuration), namespace or "default"


def _namespace_of(file: str, context: str) -> str:
    from kubernetes import config

    contexts, active = config.list_kube_config_contexts(file)
    chosen = [each for each in contexts if each["name"] == context] if context else [active]
    return str(chosen[0]["context"].get("namespace") or "") if chosen else ""


def asked(call: Callable[[], T]) -> T:
    """Makes a call of the client; sorts what it raises into ServiceErrors."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return call()
    except ApiException as error:
        if not error.status:
            raise Unreachable(_line(error.reason)) from None
        said = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
        retry_after = (error.headers or {}).get("Retry-After")
        raise error_of(int(error.status), str(said or error.reason), retry_after) from None
    except (HTTPError, OSError) as error:
        raise Unreachable(_line(error)) from None


def understood(read: Callable[[], T]) -> T:
    """What an answer says; Unreachable where it is none."""
    try:
        return read()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreachable(f"an answer that cannot be understood ({_line(error)})") from None


def in_words(error: ServiceError) -> str:
    """What a refusal means for who waits, with the server's own words."""
    if isinstance(error, Unauthorized):
        return f"Kubernetes does not take the credentials ({error}): log in to the cluster again"
    if isinstance(error, Denied):
        return f"Kubernetes does not allow it ({error})"
    return f"Kubernetes cannot be asked: {error}"


def selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


def _found(job: Mapping[str, Any]) -> Found:
    """A job of a list; its pods are not asked for."""
    metadata = job["metadata"]
    how = seen(job, [])
    return Found(
        id=metadata["name"],
        name=metadata["name"],
        phase=how.phase,
        labels=metadata.get("labels") or {},
        created=_seconds(metadata.get("creationTimestamp")),
        state=how.reason,
    )


def _seconds(text: str | None) -> float:
    """Since 1970."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


def _line(text: object) -> str:
    return " ".join(str(text).split())[:300]


__all__ = ["Full", "Kubernetes", "asked", "connected", "in_words", "selector", "understood"]
