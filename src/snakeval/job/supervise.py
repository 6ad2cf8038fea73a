"""Keeps a model's server up while benchmarks need it, and takes it down then.

Called by `server.sh` from the run folder's `lib/`; standard library only, Python 3.9 or newer.
Its parts: `server_process` the server as a process, `need` who needs it, `supervisor_lease` one
supervisor at a time.

In the deployment's folder:

lease/         who supervises: `owner`, and `beat`, its heartbeat
tasks.json     the benchmarks of the latest start that need the server, and the start's id
users/<task>   touched by a benchmark's `run.sh` while it runs
endpoint.json  the live address; there only while the server is healthy
stop           a request: `unused` (when nobody uses it) or `now`
status.json    state, cause, what it has cost
logs/          one file per start of the server
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from . import processes, slurm_job
from .endpoint import answers, is_free, served_models
from .files import keep_unreadable, now, objects_in, read_json, read_text, write_atomically
from .lease import this_process
from .need import Coming, Users
from .paths import ServerPaths
from .server_process import CannotStart, ServerProcess
from .supervisor_lease import SupervisorLease

TICK = 0.5
RESTARTS = 3
OTHER_PORTS = 5
"""Free ports that somebody else may take before the server does."""
STABLE = 600.0
"""Seconds of health after which earlier restarts no longer count."""
UNUSED = "no benchmark needs it any more"
IDLE = "idle for"
"""Beginnings of the causes of an end that nobody has asked for."""
LOOK_AGAIN = 10.0
"""Seconds between two looks at the health of a server that was healthy."""
FAILED_LOOKS = 6
"""So many of them in a row, and it hangs: it is started again."""
LISTS_MODELS = 20.0
"""Seconds that a healthy server has to list its models."""
INSIST = "write target.api_endpoint.check_model: false"


class Ended(Exception):
    """The supervisor's work is over: the state that stays, and why."""

    def __init__(self, state: str, cause: str) -> None:
        super().__init__(cause)
        self.state = state
        self.cause = cause


class Supervisor:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.here: Path = options.folder
        self.paths = ServerPaths(options.folder)
        self.users = Users(self.paths.users)
        self.coming = Coming(self.here)
        self.server = ServerProcess(self.paths, options, self.say)
        self.deadline: float | None = None
        self.lease = SupervisorLease(
            self.paths,
            this_process(
                job=os.environ.get("SLURM_JOB_ID", ""),
                digest=options.digest,
                start=os.environ.get("SNAKEVAL_START", ""),
            ),
        )
        self.told: signal.Signals | None = None
        self.looked = float("-inf")
        self.failed_looks = 0
        self.life: dict[str, Any] = {
            "started": now(),
            "ended": None,
            "host": platform.node(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "image": options.image or None,
            "start": os.environ.get("SNAKEVAL_START", ""),
            "devices": os.environ.get("SNAKEVAL_DEVICES") or None,
            "loads": 0,
            "restarts": 0,
            "seconds_to_healthy": [],
            "seconds_in_use": 0.0,
            "seconds_idle": 0.0,
            "users": 0,
            "queued": 0,
        }

    # --- the record ------------------------------------------------------------------------------

    def record(self, state: str, cause: str | None = None) -> None:
        path = self.paths.status
        lives = objects_in(read_json(path), "lives")
        if lives and lives[-1].get("started") == self.life["started"]:
            lives.pop()
        rounded = {
            key: round(value, 1) if isinstance(value, float) else value
            for key, value in self.life.items()
        }
        content = {"state": state, "cause": cause, "lives": [*lives, rounded]}
        with contextlib.suppress(OSError):  # a full disk must not end the server
            keep_unreadable(path)
            write_atomically(path, json.dumps(content, indent=1) + "\n")

    def say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            print(f"{time.strftime('%H:%M:%S')} {self.here.name}: {text}", flush=True)

    def until_healthy(self) -> bool:
        """Waits for health; False when the server has ended before. Raises Ended."""
        began = time.monotonic()
        url = None
        stranger = ""
        while True:
            code = self.server.ended()
            if code is not None:
                return False
            url = url or self.server.base_url()
            if url and self.is_healthy(url):
                if self.server.is_own_listener():
                    break
                port = self.server.port
                if not stranger:
                    self.say(f"what answers at port {port} is not this server; waiting for it")
                stranger = f"; what answers at port {port} is another process"
            waited = time.monotonic() - began
            if waited > self.options.ready_timeout:
                raise Ended(
                    "failed",
                    f"the server was not healthy after {waited:.0f} s "
                    f"(asked: {(url or 'no address yet') + self.options.health}){stranger}",
                )
            self.check_requests()
            self.check_tasks(self.users.now())
            self.check_lease()
            time.sleep(TICK)
        if self.server.ended() is not None:
            return False  # somebody else has answered at its port
        self.check_name(url)
        self.life["seconds_to_healthy"].append(round(time.monotonic() - began, 1))
        content = {
            "url": url,
            "health": self.options.health,
            "key_name": self.options.key,
            "model_id": self.options.model,
            "since": now(),
            "load": self.life["loads"],
            "host": platform.node(),
            "job": self.life["job"],
        }
        write_atomically(self.paths.endpoint, json.dumps(content, indent=1) + "\n")
        self.record("up")
        self.say(
            f"healthy after {time.monotonic() - began:.1f} s: {url} serves {self.options.model}"
        )
        return True

    def is_healthy(self, url: str | None) -> bool:
        """Where this machine may not reach the server, it has an address while it is healthy."""
        if url is None or self.options.health_is_told:
            return url is not None
        return answers(url + self.options.health, self.options.key)

    def check_name(self, url: str) -> None:
        """Another model's scores under this one's name would be false. Raises Ended."""
        unreached = self.options.health_is_told
        unknown = self.options.key and not os.environ.get(self.options.key)
        if self.options.any_model or unreached or unknown:
            return  # nobody wants it, or only the benchmarks reach it, or have the token: they ask
        served = self.listed_models(url + self.options.models_under)
        if self.options.model not in served:
            raise Ended(
                "failed",
                f"the server serves {', '.join(served[:5]) or 'no model'} and not "
                f"'{self.options.model}': correct deployment.served_model_name, or the server's "
                f"command; where this is another name of the same model, {INSIST}",
            )

    def listed_models(self, url: str) -> list[str]:
        """The models that the server lists. Raises Ended where it lists none for a while."""
        deadline = time.monotonic() + LISTS_MODELS
        while True:
            try:
                return served_models(url, self.options.key)
            except (OSError, ValueError, KeyError, TypeError) as error:
                why = error
            if time.monotonic() > deadline or self.server.ended() is not None:
                raise Ended(
                    "failed",
                    f"the server does not say which models it serves ({why}): if it cannot, "
                    f"{INSIST}",
                )
            self.check_requests()
            time.sleep(TICK)

    # --- when it is over -------------------------------------------------------------------------

    def check_lease(self) -> None:
        """Raises Ended where another one has taken over."""
        if not self.lease.holds:
            raise Ended("lost", "was suspended for so long that another one has taken over")

    def check_requests(self) -> None:
        """Raises Ended where somebody asks for the end."""
        if self.told:
            raise Ended(*self.why_told(self.told))
        request = read_text(self.paths.stop)
        if request == "now" or (request and not self.users.now()):
            raise Ended("stopped", "stopped on request")

    def why_told(self, number: signal.Signals) -> tuple[str, str]:
        """What a signal means: a person's wish, or Slurm's, after which the job comes back."""
        if number == signal.SIGUSR1:
            return "requeued", "the time limit of its job is near"
        if self.life["job"]:
            lead = float(os.environ.get("SNAKEVAL_LEAD") or 120)
            state, why = slurm_job.ending(slurm_job.shown(), self.deadline, lead)
            if state == "interrupted":
                return "requeued", why
        return "stopped", f"stopped by {number.name}"

    def check_tasks(self, in_use: list[str]) -> None:
        """Raises Ended when all benchmarks that need the server are published, or have failed in
        their last attempt of this start."""
        if in_use or not os.environ.get("SNAKEVAL_START"):
            return  # started by hand: it ends by hand, or when it is idle
        if read_json(self.paths.tasks).get("tasks") and not self.coming.unfinished():
            raise Ended("stopped", UNUSED)

    def starts(self) -> set[str]:
        """The starts that have found the server up: each of them is about to use it."""
        return {token.name for token in self.here.glob("up.*")}

    def hangs(self) -> bool:
        """Whether a server that was healthy has not answered for so many looks."""
        if time.monotonic() - self.looked < LOOK_AGAIN:
            return False
        self.looked = time.monotonic()
        self.server.cut_log()
        healthy = self.is_healthy(self.server.base_url())
        self.failed_looks = 0 if healthy else self.failed_looks + 1
        return self.failed_looks >= FAILED_LOOKS

    def watch(self) -> None:
        """Returns when the server has ended by itself, or hangs. Raises Ended."""
        last_used = last = time.monotonic()
        self.looked, self.failed_looks = last, 0
        starts = self.starts()
        recorded = healthy = last
        while self.server.ended() is None:
            time.sleep(TICK)
            moment = time.monotonic()
            in_use = self.users.now()
            used = self.users.passed_by() or bool(in_use)
            queued = self.coming.queued()
            if used or starts != (starts := self.starts()) or queued:
                last_used = moment
            before = self.life["users"], self.life["queued"]
            self.life.update(users=len(in_use), queued=queued)
            self.life["seconds_in_use" if used else "seconds_idle"] += moment - last
            last = moment
            if moment - recorded > 10 or before != (len(in_use), queued):
                recorded = moment
                self.record("up")
            if moment - healthy > STABLE:
                self.recent = 0
            self.check_lease()
            self.check_tasks(in_use)
            self.check_requests()
            if self.hangs():
                return
            if moment - last_used > self.options.idle_timeout:
                raise Ended("stopped", f"{IDLE} {self.options.idle_timeout:g} s")

    def work(self) -> None:
        """Raises Ended."""
        self.recent = 0
        other_ports = OTHER_PORTS
        if self.options.reach == "nodes":
            self.server.host = self.reachable()
        self.check_tasks(self.users.now())  # a requeued job may come back too late
        self.server.sweep("before-start")
        self.server.end_what_is_left()
        while True:
            self.life["loads"] += 1
            self.server.start()
            self.record("starting")
            was_healthy = self.until_healthy()
            if was_healthy:
                self.watch()
            code = self.server.ended()
            how = f"ended with exit code {code}"
            if was_healthy and code is None:
                how = f"did not answer {FAILED_LOOKS} times in a row"
            said = self.server.last_lines()
            self.server.stop()
            if not was_healthy and other_ports and self.server.lost_its_port():
                other_ports -= 1
                self.say(f"port {self.server.port} was taken meanwhile; another one is tried")
                continue
            if not was_healthy and not self.life["seconds_to_healthy"]:
                raise Ended(
                    "failed", f"the server ended with exit code {code} before it was healthy"
                )
            self.recent += 1
            if self.recent > RESTARTS:
                raise Ended(
                    "failed",
                    f"the server {how} again, after {RESTARTS} restarts",
                )
            self.life["restarts"] += 1
            self.say(
                f"the server {how}; it is started again "
                f"({self.recent} of {RESTARTS}). Its last lines:\n{said}"
            )

    def reachable(self) -> str:
        """This node's address in the cluster's network. Raises Ended."""
        for name in (slurm_job.node_address(), platform.node()):
            with contextlib.suppress(OSError):
                address = socket.gethostbyname(name) if name else ""
                if address and not address.startswith("127.") and is_free(0, address):
                    return address
        raise Ended(
            "failed",
            f"no address of {platform.node()} is known that other nodes reach: its name stands for "
            "a loopback address, or for another machine",
        )

    def come_back(self) -> None:
        """Asks Slurm for another turn of this job. Where it refuses, the controller submits
        another one."""
        slurm_job.requeue(str(self.life["job"]))

    def supervise(self) -> int:
        self.paths.logs.mkdir(parents=True, exist_ok=True)
        self.paths.users.mkdir(exist_ok=True)
        self.users.passed_by()
        if not self.lease.take():
            self.say(f"is supervised already: {self.lease.holder()}")
            return 0
        signals = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
        if self.life["job"]:
            signals.append(signal.SIGUSR1)
        for number in signals:
            signal.signal(number, self.on_signal)
        if self.life["job"]:
            self.deadline = slurm_job.deadline()
        processes.adopt_orphans()
        state, cause = "failed", "the supervisor ended unexpectedly"
        try:
            self.work()
        except Ended as end:
            state, cause = end.state, end.cause
        except CannotStart as error:
            cause = str(error)
        except OSError as error:
            cause = f"the supervisor: {error.strerror}: {error.filename}"
        finally:
            said = self.server.last_lines() if state == "failed" else ""
            if state == "lost":
                self.server.let_go()
            else:
                with contextlib.suppress(OSError):
                    self.server.stop()
                self.life["ended"] = now()
                if state == "failed" and said:
                    cause = f"{cause}; its last lines ({self.server.log.name}):\n{said}"
                self.record(state, cause)
                self.lease.release()
        if state == "requeued":
            self.come_back()
        self.say(f"{state}: {cause}")
        return 1 if state == "failed" else 0

    def on_signal(self, number: int, _: Any) -> None:
        self.told = signal.Signals(number)


def parser() -> argparse.ArgumentParser:
    outer = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    outer.add_argument("folder", type=Path)
    outer.add_argument(
        "--digest", required=True, help="of server.sh: another one is another server"
    )
    outer.add_argument("--model", required=True)
    outer.add_argument("--health", required=True)
    outer.add_argument("--models-under", default="/v1")
    outer.add_argument(
        "--reach",
        choices=["host", "nodes"],
        default="host",
        help="who reaches the server: this machine's processes, or the cluster's nodes",
    )
    outer.add_argument("--port", type=int, default=0)
    outer.add_argument("--fixed-port", action="store_true")
    outer.add_argument("--own-network", action="store_true", help="not behind an engine's port")
    outer.add_argument(
        "--health-is-told",
        action="store_true",
        help="`server.sh address` has one while the server is healthy; it is not asked from here",
    )
    outer.add_argument("--image", default="")
    outer.add_argument("--key", default=None)
    outer.add_argument(
        "--any-model", action="store_true", help="the models that it lists are not looked at"
    )
    outer.add_argument("--idle-timeout", type=float, default=600)
    outer.add_argument("--ready-timeout", type=float, default=600)
    return outer


if __name__ == "__main__":
    sys.exit(Supervisor(parser().parse_args()).supervise())
