"""The life of a Lepton endpoint, as `server.sh` starts and ends it.

    python -m snakeval.executors.lepton.endpoint serve FOLDER   creates it, watches it, deletes it
    python -m snakeval.executors.lepton.endpoint sweep FOLDER   deletes what was left over
    python -m snakeval.executors.lepton.endpoint token         prints the token of our own endpoints

FOLDER is the deployment's. `serve` lives as long as its stdin, which is the supervisor's lifeline:
however that one dies, the endpoint is deleted. In the folder:

endpoint_spec.json  what to create; names, no secret's value
lepton.json         the endpoint that there is (or may be): written before it is created, gone when
                    it is deleted
address             its URL, once it is ready

The SDK repeats nothing that fails, so everything here is repeated where that can help.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_lepton.client import Conflict, Denied, Missing, ServiceError, asked
from snakeval.config.lepton import OWN_TOKEN
from snakeval.executors.hosted_life import HostedServer, live, serve
from snakeval.executors.lepton import calls as lepton_calls
from snakeval.executors.lepton.calls import GivenUp, connect, family_of, in_words, patiently
from snakeval.executors.lepton.endpoint_spec import MARK
from snakeval.executors.lepton.tokens import own_token
from snakeval.job.files import write_atomically

POLL = float(os.environ.get("SNAKEVAL_LEPTON_POLL", "5"))
"""Seconds between two looks at the endpoint; the variable is for tests."""
GRACE = min(60.0, 12 * POLL)
"""Seconds that an endpoint may report Error or an unknown state before we give up."""
GONE = 3
"""Looks in a row that must not find an endpoint before it counts as gone."""
REFUSED_PATIENCE = 120 * POLL
"""Seconds for which the service may refuse to say anything of an endpoint that is not ready yet."""
BY_HAND = "look, and delete it by hand: `lep endpoint remove --name {name}`"


# --- states -----------------------------------------------------------------------------------


def phase_of(endpoint: Any) -> str:
    """The state of an endpoint. The older API says `Not Ready` of a stopped one, and the truth in
    `phase`."""
    status = endpoint.status
    if status is None:
        return "Unknown"
    state = status.phase or status.state
    value = str(state.value)
    return "Unknown" if value == "UNK" else value


def verdict(phase: str, was_ready: bool, scales_to_zero: bool) -> str:
    """What a state means: `ready`, `waiting`, `doubtful` (for a while) or `over`."""
    if phase == "Ready":
        return "ready"
    if phase in ("Error", "Unknown"):
        return "doubtful"
    if phase == "Deleting":
        return "over"
    if phase in ("Stopping", "Stopped"):
        # Without traffic the service may have taken the replicas away; the next request wakes it.
        return "waiting" if scales_to_zero or was_ready else "over"
    return "waiting"


def url_of(endpoint: Any) -> str:
    """Where it answers; empty while it has no address."""
    status = endpoint.status
    return str(status.endpoint.external_endpoint or "").rstrip("/") if status else ""


# --- one endpoint -----------------------------------------------------------------------------


class Endpoint(HostedServer):
    """The endpoint of a deployment."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.wanted: dict[str, Any] = json.loads(
            (folder / "endpoint_spec.json").read_text(encoding="utf-8")
        )
        self.client = connect()
        self.api: Any = None
        self.name = ""
        self._logged = threading.Event()

    # --- what is known of it in the folder

    @property
    def note(self) -> Path:
        return self.folder / "lepton.json"

    @property
    def reached(self) -> bool:
        return self.api is not None

    def in_words(self, trouble: Exception) -> str:
        return in_words(trouble)

    def noted(self) -> list[str]:
        """The name of the endpoint that was noted last."""
        try:
            return [str(json.loads(self.note.read_text(encoding="utf-8"))["name"])]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    # --- creation

    def come_up(self) -> None:
        self.api = family_of(self.client, self.ended)
        self.sweep()  # what a host that crashed has left
        self.make_secrets()
        self.create()

    def token(self, variable: str) -> str:
        """The value of a token. One of our own needs no place to be kept at: whoever has the
        workspace's token comes to the same one."""
        value = os.environ.get(variable)
        if not value and variable == OWN_TOKEN:
            value = own_token(str(self.client.auth_token))
        if not value:
            raise GivenUp(f"the variable {variable}, the endpoint's token, is not set")
        return value

    def make_secrets(self) -> None:
        """The workspace's secrets that hold our tokens, with the values that they have now."""
        from leptonai.api.v2.types.secret import SecretItem

        for name, variable in self.wanted["secrets"].items():
            items = [SecretItem(name=name, value=self.token(variable))]
            self._remove_secret(name)
            patiently(
                lambda items=items: self.client.secret.create(items),  # type: ignore[misc]
                f"creating the secret {name}",
                ended=self.ended,
                settled=Conflict,  # the answer to an earlier try was lost
            )

    def _remove_secret(self, name: str) -> None:
        patiently(
            lambda: self.client.secret.delete(name), f"deleting the secret {name}", settled=Missing
        )

    def group_ids(self, spec: dict[str, Any]) -> None:
        """Node groups may be named; the service wants their ids."""
        affinity = spec.get("resource_requirement", {}).get("affinity") or {}
        named = affinity.get("allowed_dedicated_node_groups") or []
        if not named:
            return
        groups: Any = patiently(
            self.client.nodegroup.list_all, "listing node groups", ended=self.ended
        )
        ids = {group.metadata.name: group.metadata.id_ for group in groups}
        affinity["allowed_dedicated_node_groups"] = [ids.get(name) or name for name in named]

    def deployment(self) -> Any:
        """The SDK's object of this load."""
        from leptonai.api.v2.types.common import Metadata
        from leptonai.api.v2.types.deployment import LeptonDeployment, LeptonDeploymentUserSpec

        spec = json.loads(json.dumps(self.wanted["spec"]))
        self.group_ids(spec)
        labels = None if self.client.new_deployment_api_enabled else self.wanted["labels"]
        return LeptonDeployment(
            metadata=Metadata(id=self.name, name=self.name, labels=labels),
            spec=LeptonDeploymentUserSpec(**spec),
        )

    def create(self) -> None:
        """Creates the endpoint, once: an answer that was lost is looked for before another try."""
        self.name = f"{self.wanted['prefix']}-{secrets.token_hex(2)}"
        wanted = self.deployment()
        write_atomically(self.note, json.dumps({"name": self.name}, indent=1) + "\n")
        lost = False

        def attempt() -> None:
            nonlocal lost
            if lost:
                with contextlib.suppress(Missing):
                    asked(lambda: self.api.get(self.name))
                    return
            try:
                asked(lambda: self.api.create_with_response(wanted))
            except ServiceError as error:
                if lost and isinstance(error, Conflict):
                    return
                lost = True
                raise

        try:
            patiently(attempt, "creating the endpoint", ended=self.ended)
        except GivenUp:
            raise
        except ServiceError as error:
            raise GivenUp(f"Lepton refuses the endpoint {self.name}: {in_words(error)}") from error
        self.say(f"the endpoint {self.name} is created; waiting until it is ready")

    # --- looking at it

    def look(self, name: str = "", patience: float | None = None) -> Any | None:
        """The endpoint as the service has it; None where there is none of that name."""
        name = name or self.name
        return patiently(
            lambda: self.api.get(name), f"asking for the endpoint {name}", patience, settled=Missing
        )

    def watch(self) -> None:
        """Returns when nobody wants it any more. Raises GivenUp when it cannot go on."""
        scales = self.wanted["spec"]["resource_requirement"]["min_replicas"] == 0
        was_ready, missed, doubtful_since, last = False, 0, 0.0, ""
        followed: set[str] = set()
        refused_since = 0.0
        while not self.ended.is_set():
            try:
                found = self.look(patience=0.0)
            except GivenUp as trouble:
                last = self.tell(str(trouble), last)
                self.ended.wait(POLL)
                continue
            except ServiceError as error:
                # Whether the token is taken says nothing of the endpoint.
                refused_since = refused_since or time.monotonic()
                refused = time.monotonic() - refused_since
                patient = isinstance(error, Denied) and refused < REFUSED_PATIENCE
                if not was_ready and not patient:
                    raise GivenUp(in_words(error)) from error
                last = self.tell(in_words(error), last)
                self.renew()
                self.ended.wait(POLL)
                continue
            refused_since = 0.0
            missed = missed + 1 if found is None else 0
            if missed >= GONE:
                raise GivenUp(f"the endpoint {self.name} is gone: somebody has deleted it")
            if found is None:
                self.ended.wait(POLL)
                continue
            phase = phase_of(found)
            last = self.tell(f"{self.name}: {phase}{self.detail(phase)}", last)
            self.follow(followed)
            meaning = verdict(phase, was_ready, scales)
            doubtful_since = (doubtful_since or time.monotonic()) if meaning == "doubtful" else 0.0
            doubted = doubtful_since and time.monotonic() - doubtful_since > GRACE
            # One of unknown state that has served goes on serving, as far as anybody knows.
            if meaning == "over" or (doubted and not (was_ready and phase == "Unknown")):
                if phase == "Error":
                    self.last_log(followed)
                raise GivenUp(f"the endpoint {self.name} is in the state {phase}")
            if (meaning == "ready" or scales) and url_of(found) and not was_ready:
                was_ready = True
                write_atomically(self.address, url_of(found) + "\n")
            self.ended.wait(POLL)

    def renew(self) -> None:
        """Takes the credentials that are known here now: somebody may have logged in again."""
        with contextlib.suppress(ServiceError):
            self.client = connect()
            self.api = family_of(self.client, self.ended)

    def detail(self, phase: str) -> str:
        """Why it is not ready, as far as the service says so (the newer API does not)."""
        if phase == "Ready":
            return ""
        try:
            issues = self.api.get_readiness(self.name).root
        except Exception:
            return ""
        said = {
            f"{issue.reason.value}: {issue.message}".rstrip(": ")
            for each in issues.values()
            for issue in each
            if issue.reason.value != "Ready"
        }
        return f" ({'; '.join(sorted(said))[:300]})" if said else ""

    # --- its log

    def follow(self, followed: set[str]) -> None:
        """Copies the log of every replica that has appeared."""
        try:
            replicas = [str(each.metadata.id_ or each.id_) for each in self.replicas()]
        except Exception:
            return  # the log is for people; the next look asks again
        for replica in replicas:
            if replica not in followed:
                followed.add(replica)
                threading.Thread(target=self._copy, args=(replica,), daemon=True).start()

    def replicas(self) -> list[Any]:
        found: list[Any] = self.api.get_replicas(self.name)
        return found

    def _copy(self, replica: str) -> None:
        """Copies a replica's log until the end; after a break it goes on where it was."""
        seen = 0
        while not self.ended.is_set():
            skip = seen
            try:
                for chunk in self.api.get_log(self.name, replica, timeout=60):
                    new = chunk[skip:]
                    skip = max(0, skip - len(chunk))
                    seen += len(new)
                    if new:
                        sys.stdout.write(new)
                        sys.stdout.flush()
                        self._logged.set()
            except Exception:
                pass  # it is asked for again
            self.ended.wait(max(1.0, POLL))

    def last_log(self, followed: set[str]) -> None:
        """Gives the log of a failed endpoint a moment to arrive."""
        self.follow(followed)
        if followed:
            self._logged.wait(5)
            time.sleep(0.5)

    # --- the end

    def delete(self, name: str) -> None:
        """Deletes an endpoint, and looks whether it is. Raises GivenUp where it may still be up."""
        deadline = time.monotonic() + lepton_calls.PATIENCE
        while True:
            left = max(1.0, deadline - time.monotonic())
            try:
                patiently(
                    lambda: self.api.delete(name),
                    f"deleting the endpoint {name}",
                    left,
                    settled=Missing,
                )
                found = self.look(name, left)
            except GivenUp as trouble:
                raise GivenUp(f"{trouble}; {BY_HAND.format(name=name)}") from None
            except ServiceError as error:
                raise GivenUp(
                    f"the endpoint {name} could not be deleted: {in_words(error)}; "
                    f"{BY_HAND.format(name=name)}"
                ) from error
            if found is None or phase_of(found) == "Deleting":
                self.say(f"the endpoint {name} is deleted")
                return
            if time.monotonic() > deadline:
                raise GivenUp(
                    f"the endpoint {name} is still {phase_of(found)}; {BY_HAND.format(name=name)}"
                )
            time.sleep(min(2.0, POLL))

    def ours(self) -> Iterator[str]:
        """Names of all endpoints of the workspace that carry this deployment's mark."""
        endpoints: Any = patiently(self.api.list_all, "listing the endpoints")
        for each in endpoints:
            envs = (each.spec.envs if each.spec else None) or []
            marked = any(env.name == MARK and env.value == self.wanted["mark"] for env in envs)
            if marked and phase_of(each) != "Deleting":
                yield str(each.metadata.id_ or each.metadata.name)

    def sweep(self) -> None:
        """Deletes every endpoint of this deployment, and its secrets. Raises GivenUp."""
        self.address.unlink(missing_ok=True)
        for name in dict.fromkeys([*self.noted(), *self.ours()]):
            self.delete(name)
        for name in self.wanted["secrets"]:
            self._remove_secret(name)
        self.note.unlink(missing_ok=True)


def sweep(endpoint: Endpoint) -> int:
    """Deletes what an earlier `serve` has left."""
    try:
        endpoint.api = family_of(endpoint.client)
        endpoint.sweep()
    except Exception as trouble:
        print(in_words(trouble))
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=("serve", "sweep", "token"))
    parser.add_argument("folder", type=Path, nargs="?", help="the deployment's")
    arguments = parser.parse_args()
    try:
        if arguments.command == "token":
            print(own_token(str(connect().auth_token)))
            return 0
        endpoint = Endpoint(arguments.folder)
    except GivenUp as trouble:
        print(trouble)
        return 1
    return serve(endpoint) if arguments.command == "serve" else sweep(endpoint)


__all__ = ["Endpoint", "live", "main", "serve"]

if __name__ == "__main__":
    sys.exit(main())
