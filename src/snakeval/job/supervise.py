"""Keeps a model's server up while benchmarks need it, and takes it down then.

Called by `server.sh` from the run folder's `lib/`; standard library only, Python 3.9 or newer.
The server itself is `server.sh serve`: its stdin is a pipe that only this program writes to. When
the pipe closes, however this program ended, the server ends.

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
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from . import cancelled, processes, slurm_job
from .endpoint import answers, free_port, is_free, served_models
from .files import keep_unreadable, now, objects_in, read_json, read_text, tail, write_atomically
from .lease import BEAT, Owner, Watch, holder_of, mark_of, owner_of, this_process
from .paths import ServerPaths, TaskPaths

TICK = 0.5
GRACE = 8.0
"""Seconds that a server has to end; its own watchdog sends KILL after 5."""
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
LARGEST_LOG = 200_000_000
KEPT_OF_LOG = 1_000_000
"""Bytes of a server's log, and of its end that is kept when it has become larger."""
LISTS_MODELS = 20.0
"""Seconds that a healthy server has to list its models."""
LOOK_ROUND = 20.0
"""Seconds between two looks at what the start does elsewhere; its signs of life come more often."""


INSIST = "write target.api_endpoint.check_model: false"


class Ended(Exception):
    """The supervisor's work is over: the state that stays, and why."""

    def __init__(self, state: str, cause: str) -> None:
        super().__init__(cause)
        self.state = state
        self.cause = cause


class Users:
    """Benchmarks that use the server: whose files were touched a short while ago."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._watch = Watch(trusting=True)

    def now(self) -> list[str]:
        try:
            files = list(self._folder.iterdir())
        except OSError:
            return []
        return sorted(file.name for file in self._watch.beating(files))


class Start:
    """The start that needs the server, as far as its run folders show it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked = float("-inf")
        self._seen: dict[str, tuple[int, int] | None] = {}
        self._at_work = False

    def is_at_work(self) -> bool:
        """Whether Snakemake lives and a benchmark of the start runs, of whatever model: one that
        needs this server may be waiting for its turn."""
        if time.monotonic() - self._looked >= LOOK_ROUND:
            self._looked = time.monotonic()
            self._at_work = self._look()
        return self._at_work

    def _look(self) -> bool:
        start = read_json(ServerPaths(self._folder).tasks).get("start")
        signs: dict[str, tuple[int, int] | None] = {}
        for driven in self._folder.parents[2].glob("*/controller.json") if start else ():
            if read_json(driven).get("start") == start:
                for sign in (driven, *driven.parent.glob("*/lease/beat")):
                    signs[str(sign)] = mark_of(sign)
        before, self._seen = self._seen, signs
        changed = {Path(name).name for name, _ in signs.items() - before.items()}
        return bool(before) and changed == {"controller.json", "beat"}


class Supervisor:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.here: Path = options.folder
        self.paths = ServerPaths(options.folder)
        self.run: Path = options.folder.parents[1]
        self.users = Users(self.paths.users)
        self.latest = Start(self.here)
        self.server: subprocess.Popen[bytes] | None = None
        self.lifeline: int | None = None
        self.port = 0
        self.host = "127.0.0.1"
        self.deadline: float | None = None
        self.log = self.paths.server_log
        self.owner = this_process(
            job=os.environ.get("SLURM_JOB_ID", ""),
            digest=options.digest,
            start=os.environ.get("SNAKEVAL_START", ""),
        )
        self.told: signal.Signals | None = None
        self.looked = float("-inf")
        self.failed_looks = 0
        self.over = threading.Event()
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
        }

    # --- one supervisor at a time --------------------------------------------------------------

    @property
    def lease(self) -> Path:
        return self.paths.lease

    def take(self) -> bool:
        """Takes the deployment; False when somebody else supervises it."""
        for _ in range(3):
            try:
                self.lease.mkdir(parents=True)
            except FileExistsError:
                found = owner_of(self.lease)
                if holder_of(self.lease):
                    return False
                if found:
                    self.bury(found)
                continue
            # Before it can be seen that somebody supervises: they are of an earlier one.
            self.paths.stop.unlink(missing_ok=True)
            self.paths.endpoint.unlink(missing_ok=True)
            write_atomically(self.lease / "owner", self.owner)
            (self.lease / "beat").touch()
            threading.Thread(target=self.keep_beating, daemon=True).start()
            return True
        return False

    def bury(self, dead: Owner) -> None:
        """Removes a lease whose owner was found dead; of two that try, one gets it."""
        grave = self.lease.with_name(f".lease.{platform.node()}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self.lease.rename(grave)
            if owner_of(grave) != dead:  # somebody else was faster, and this is the new one
                grave.rename(self.lease)
                return
            shutil.rmtree(grave)

    @property
    def holds(self) -> bool:
        return read_text(self.lease / "owner") == self.owner.strip()

    def keep_beating(self) -> None:
        """Also while this program waits for an engine, or for its server's end."""
        while not self.over.wait(BEAT):
            with contextlib.suppress(OSError):
                if self.holds:
                    os.utime(self.lease / "beat")

    def beat(self) -> None:
        """Raises Ended where another one has taken over."""
        if not self.holds:
            raise Ended("lost", "was suspended for so long that another one has taken over")

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

    # --- the server ------------------------------------------------------------------------------

    def start(self) -> None:
        self.life["loads"] += 1
        number = 1 + sum(1 for _ in self.paths.logs.glob("server.*.log"))
        self.log = self.paths.logs / f"server.{number}.log"
        self.port = self.options.port if self.options.fixed_port else free_port(self.host)
        if self.options.fixed_port and self.options.own_network and not is_free(self.port):
            raise Ended(
                "failed",
                f"port {self.port} is taken on {platform.node()}: free it, or leave "
                "deployment.port out and a free one is chosen",
            )
        reading, writing = os.pipe()
        # Appended to, so that it can be cut while it is written.
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                ["bash", str(self.paths.script), "serve"],
                stdin=reading,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    processes.MARK: str(self.here),
                    "SNAKEVAL_PORT": str(self.port),
                    "SNAKEVAL_ADDRESS": self.host,
                },
                start_new_session=True,
            )
        os.close(reading)
        self.lifeline = writing
        link = self.paths.server_log
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)
            link.symlink_to(self.log.name)
        self.say(f"starting the server (log: {self.log})")

    def stop(self) -> None:
        """Ends the server, and proves it."""
        self.paths.endpoint.unlink(missing_ok=True)
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None
        if self.server is None:
            return
        try:
            self.server.wait(GRACE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
        self.sweep()
        self.server = None
        self.end_what_is_left()

    def end_what_is_left(self) -> None:
        """What a server has left in sessions of its own, or a killed supervisor's server."""
        killed = processes.end(self.here)
        if killed:
            self.say(f"{killed} more processes of the server were ended")

    def sweep(self) -> None:
        """Removes what an engine, or a service, still has of it."""
        swept = subprocess.run(
            ["bash", str(self.paths.script), "sweep"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        if swept.returncode and swept.stdout.strip():
            self.say(f"something may be left: {swept.stdout.strip()}")

    def ended(self) -> int | None:
        """The server's exit code once it has ended by itself."""
        return self.server.poll() if self.server else None

    def last_lines(self) -> str:
        return tail(self.log)

    def base_url(self) -> str | None:
        """The server's address, as far as it is known: an engine says it after the start."""
        if self.options.own_network:
            return f"http://{self.host}:{self.port}"
        answer = subprocess.run(
            ["bash", str(self.paths.script), "address"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        address = answer.stdout.split()
        if not address:
            return None
        return address[0] if "://" in address[0] else f"http://{address[0]}"

    def until_healthy(self) -> bool:
        """Waits for health; False when the server has ended before. Raises Ended."""
        began = time.monotonic()
        url = None
        stranger = ""
        while True:
            code = self.ended()
            if code is not None:
                return False
            url = url or self.base_url()
            if url and answers(url + self.options.health, self.options.key):
                if self.is_own_listener():
                    break
                if not stranger:
                    self.say(f"what answers at port {self.port} is not this server; waiting for it")
                stranger = f"; what answers at port {self.port} is another process"
            waited = time.monotonic() - began
            if waited > self.options.ready_timeout:
                raise Ended(
                    "failed",
                    f"the server was not healthy after {waited:.0f} s "
                    f"(asked: {(url or 'no address yet') + self.options.health}){stranger}",
                )
            self.check_requests()
            self.check_tasks(self.users.now())
            self.beat()
            time.sleep(TICK)
        if self.ended() is not None:
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

    def is_own_listener(self) -> bool:
        """Whether what answers at the port is this server, and not somebody who was there first.
        An engine's port is the container's own."""
        if not self.options.own_network:
            return True
        own = processes.of_server(self.here)
        return processes.all_listeners_are(own, self.port) is not False

    def check_name(self, url: str) -> None:
        """Another model's scores under this one's name would be false. Raises Ended."""
        if self.options.any_model or (self.options.key and not os.environ.get(self.options.key)):
            return  # nobody wants it, or only the benchmarks have the token: they ask with it
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
            if time.monotonic() > deadline or self.ended() is not None:
                raise Ended(
                    "failed",
                    f"the server does not say which models it serves ({why}): if it cannot, "
                    f"{INSIST}",
                )
            self.check_requests()
            time.sleep(TICK)

    # --- when it is over -------------------------------------------------------------------------

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
        wanted = read_json(self.paths.tasks)
        tasks = wanted.get("tasks")
        if tasks and all(
            is_done(self.run / name, digest, str(wanted.get("start")))
            for name, digest in tasks.items()
        ):
            raise Ended("stopped", UNUSED)

    def starts(self) -> set[str]:
        """The starts that have found the server up: each of them is about to use it."""
        return {token.name for token in self.here.glob("up.*")}

    def hangs(self) -> bool:
        """Whether a server that was healthy has not answered for so many looks."""
        if time.monotonic() - self.looked < LOOK_AGAIN:
            return False
        self.looked = time.monotonic()
        self.cut_log()
        url = self.base_url()
        healthy = url is not None and answers(url + self.options.health, self.options.key)
        self.failed_looks = 0 if healthy else self.failed_looks + 1
        return self.failed_looks >= FAILED_LOOKS

    def cut_log(self) -> None:
        """Keeps a log from filling the disk: of one that is too large its end stays."""
        with contextlib.suppress(OSError):
            size = self.log.stat().st_size
            if size <= LARGEST_LOG:
                return
            with self.log.open("r+b") as log:
                log.seek(-KEPT_OF_LOG, os.SEEK_END)
                end = log.read()
                log.truncate(0)
            with self.log.open("ab") as log:
                log.write(f"[snakeval: {size - len(end)} bytes before this were cut]\n".encode())
                log.write(end)

    def watch(self) -> None:
        """Returns when the server has ended by itself, or hangs. Raises Ended."""
        last_used = last = time.monotonic()
        self.looked, self.failed_looks = last, 0
        starts = self.starts()
        recorded = healthy = last
        while self.ended() is None:
            time.sleep(TICK)
            moment = time.monotonic()
            in_use = self.users.now()
            if in_use or starts != (starts := self.starts()) or self.latest.is_at_work():
                last_used = moment
            self.life["seconds_in_use" if in_use else "seconds_idle"] += moment - last
            last = moment
            if moment - recorded > 10:
                recorded = moment
                self.record("up")
            if moment - healthy > STABLE:
                self.recent = 0
            self.beat()
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
            self.host = self.reachable()
        self.check_tasks(self.users.now())  # a requeued job may come back too late
        self.sweep()
        self.end_what_is_left()
        while True:
            self.start()
            self.record("starting")
            was_healthy = self.until_healthy()
            if was_healthy:
                self.watch()
            code = self.ended()
            how = f"ended with exit code {code}"
            if was_healthy and code is None:
                how = f"did not answer {FAILED_LOOKS} times in a row"
            said = self.last_lines()
            self.stop()
            if not was_healthy and other_ports and self.lost_its_port():
                other_ports -= 1
                self.say(f"port {self.port} was taken meanwhile; another one is tried")
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

    def lost_its_port(self) -> bool:
        """Whether somebody has taken the free port before the server did."""
        own = self.options.own_network and not self.options.fixed_port
        return bool(own) and not is_free(self.port, self.host)

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
        if not self.take():
            self.say(
                "is supervised already: "
                + " ".join((read_text(self.lease / "owner") or "").split("\n")[:2])
            )
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
        except OSError as error:
            cause = f"the supervisor: {error.strerror}: {error.filename}"
        finally:
            said = self.last_lines() if state == "failed" else ""
            if state == "lost":
                if self.lifeline is not None:
                    os.close(self.lifeline)
            else:
                with contextlib.suppress(OSError):
                    self.stop()
                self.life["ended"] = now()
                if state == "failed" and said:
                    cause = f"{cause}; its last lines ({self.log.name}):\n{said}"
                self.record(state, cause)
                self.release()
        if state == "requeued":
            self.come_back()
        self.say(f"{state}: {cause}")
        return 1 if state == "failed" else 0

    def on_signal(self, number: int, _: Any) -> None:
        self.told = signal.Signals(number)

    def release(self) -> None:
        self.over.set()
        if self.holds:
            for name in ("owner", "beat"):
                (self.lease / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.lease.rmdir()


def is_done(task: Path, digest: str, start: str) -> bool:
    """Whether a benchmark is published, or will not be tried again in this start."""
    if TaskPaths(task).complete(digest).exists():
        return True
    if cancelled.marked(task, start):
        return True  # a person has cancelled it before it ran
    record = read_json(TaskPaths(task).status)
    last = (record.get("attempts") or [{}])[-1]
    if (last.get("digest"), last.get("start")) != (digest, start):
        return False
    state = last.get("state")
    return state == "cancelled" or (state == "failed" and bool(last.get("last")))


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
