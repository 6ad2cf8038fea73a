"""How the harness runs in a container of `docker` or `podman`."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .. import attempt, hostile
from ..causes import NOT_SAID
from ..endpoint import free_port
from . import bridge, images, ownership
from .commands import quietly, said_by
from .killed import seen_by_docker
from .runtime import GRACE, Launch
from .settings import value_in
from .surroundings import PROXIES, furnish, value_of
from .variables import of_caller

if TYPE_CHECKING:
    from .hold import Hold
    from .job import Job
    from .killed import Counts

IN_CONTAINER = """exec 3<&0
(trap "" TERM INT HUP; read -r _ <&3; kill -TERM -1; sleep 5; kill -KILL -1) &
can_write() { (: >"$1/.snakeval-probe") 2>/dev/null && rm -f "$1/.snakeval-probe"; }
if ! can_write /results; then
    echo "snakeval: user $(id -u) of the container cannot write in /results"
    exit 73
fi
if [ "${HF_HOME:-}" = /snakeval/huggingface ] && ! can_write "$HF_HOME"; then
    echo "snakeval: user $(id -u) of the container cannot write in the Hugging Face cache; not used"
    unset HF_HOME
fi
set -- "$(command -v sh)" "$@"
"""
"""A watchdog ends everything when the lifeline's writing end is gone. What cannot be written (a
network folder that root may not write, an image with a user of its own) is told in lines that
`harness_log.py` knows."""

AT_LAST = 'exec "$@" </dev/null 3<&-'
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")
STEP = 0.2
TOLD = re.compile(r"snakeval: (.*Hugging Face cache.*)")
LOOPBACK = re.compile(r"(^|[/@])(localhost|127\.0\.0\.1|\[::1\])[:/]", re.MULTILINE)
HERE, DESKTOP = "127.0.0.1", "host.docker.internal"
"""This machine, in its own network; and as Docker Desktop's containers, in a virtual machine, call
it."""


class Engine:
    """A container that ends with this process: its standard input is the lifeline."""

    def __init__(self, job: Job, hold: Hold) -> None:
        self.job = job
        self.hold = hold
        self.engine = job.settings.runtime
        self.cache = ""

    def lacking(self) -> str:
        if shutil.which(self.engine):
            return ""
        return f"{self.engine} is not on this machine ({os.uname().nodename})"

    def take_archive(self, file: str) -> None:
        self.job.image = images.loaded(self.job, self.engine, file)

    def seen_by_harness(self, url: str) -> str:
        """Docker Desktop's engine runs in a virtual machine."""
        if platform.system() != "Darwin":
            return url
        loopback = r"://(localhost|127\.0\.0\.1|\[::1\])([:/])"
        return re.sub(loopback, rf"://{DESKTOP}\2", url)

    def ways_here(self) -> list[str]:
        """It stays in the network that it would have without a gateway, where it can."""
        if platform.system() == "Darwin":
            return [DESKTOP]
        network = value_in(self.job.settings.extra_args, "--network", "--net")
        if network == "host" or self._asks_this_machine([]):
            return [HERE]
        if address := bridge.address_of(self.engine):
            return [address, HERE]
        if self.engine == "podman":
            return [HERE]
        elsewhere = DESKTOP if bridge.is_desktop() else bridge.own_address()
        return [elsewhere, HERE] if elsewhere else [HERE]

    def has_reached(self, code: int) -> bool:
        way = self.job.way
        return not (way and code == bridge.UNREACHED and bridge.unreached(self.job.log, *way))

    def launch(self) -> Launch:
        """What the user has said in `extra_docker_args` is taken over, and nothing added to it: an
        engine refuses a second network. The working directory is the image's own."""
        job, settings = self.job, self.job.settings
        container = _Words(of_caller(os.environ))
        container.words += confined(settings.extra_args)
        job.endpoint_url = self.seen_by_harness(job.endpoint_url)
        network = value_in(settings.extra_args, "--network", "--net")
        if network is None and self._asks_this_machine([job.endpoint_url, *job.urls]):
            network = "host"
            container.words += ["--network", network]
        if network == "host":
            # Adapters on the host's network would answer each other's requests.
            container.add_value("ADAPTER_PORT", str(free_port("127.0.0.1")))
        if value_in(settings.extra_args, "--shm-size", "--ipc") is None:
            # As much as the launcher gives; what is not used is not taken.
            container.words.append("--shm-size=100g")
        shell = ["--entrypoint", "sh", job.image, "-c"]
        if value_in(settings.extra_args, "--entrypoint") is not None:
            shell = [job.image, "sh", "-c"]
        self.cache = furnish(job, container)
        since = job.record / ownership.SINCE
        if self.cache and not since.exists():
            since.touch()
        run, task = job.run_dir.name, settings.task
        look = bridge.look_at(*job.way) if job.way else ""
        text = f"{look}{IN_CONTAINER}{job.variables.named()}\n{AT_LAST}"
        words = [self.engine, "run", "-i", "--init", "--rm", "--name", job.container]
        words += ["--label", f"snakeval.run={run}", "--label", f"snakeval.task={run}/{task}"]
        words += ["--label", f"snakeval.folder={job.folder}", *container.words]
        words += [*settings.extra_args, *shell, text, "sh", "/snakeval/record/command.sh"]
        return Launch(words, container.environment, has_lifeline=True)

    def _asks_this_machine(self, urls: list[str]) -> bool:
        """Whether an endpoint is at this machine's loopback address, or a proxy, or what else the
        harness's variables and command name."""
        job = self.job
        proxies = [value_of(job, name) for name in PROXIES]
        model = job.settings.endpoint_url  # in a run config, where a flag takes its place
        texts = [job.texts.get(name, "") for name in attempt.FILLED]
        texts = [text.replace(model, "") if model else text for text in texts]
        named = [*urls, *proxies, *job.variables.own.values(), *texts]
        return any(LOOPBACK.search(f"{each}/") for each in named)

    def start(self, launch: Launch, output: int) -> subprocess.Popen[bytes]:
        """In a session of its own: a Ctrl-C reaches it through this process only."""
        return subprocess.Popen(
            launch.words,
            stdin=self.job.lifeline,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=launch.environment,
            start_new_session=True,
        )

    def tend(self) -> None:
        """The container has an init of its own."""

    def stop(self, harness: subprocess.Popen[bytes]) -> None:
        until, told = time.monotonic() + GRACE, False
        while self.hold.is_to_sweep() and harness.poll() is None and time.monotonic() < until:
            # Once is enough, but the engine may still be making the container.
            if not told:
                told = quietly(self.engine, "kill", "--signal", "TERM", self.job.container)
            self.job.stop.pause(STEP)
        if self.hold.is_to_sweep():
            quietly(self.engine, "rm", "-f", self.job.container)
        self.job.stop.ended(harness, 3.0)
        harness.kill()

    def killed_by(self, counts: Counts, since: float) -> str:
        """Docker has seen it. What the kernel has counted tells of an engine on this machine only,
        and nothing of a limit: a container's cgroup is none of ours."""
        seen = seen_by_docker(self.job.container, since) if self.engine == "docker" else NOT_SAID
        is_here = os.environ.get("DOCKER_HOST", "unix:").startswith("unix:")
        return seen or (counts.say() if is_here or self.engine != "docker" else NOT_SAID)

    def after(self) -> None:
        """Also when the client was killed and the container is still there; and its files become
        ours."""
        job = self.job
        if not self.hold.is_to_sweep():
            return
        self.sweep()
        for told in first_lines(job.log, TOLD):
            job.say(told)
        for told in hostile.disarm(job.work):
            job.say(f"in {job.work} {told}")
        if os.getuid() != 0:
            ownership.give_back(job, self.engine, self.cache)

    def sweep(self) -> None:
        """Whatever of this task still runs here is left over. It waits until the engine has let go
        of the name, which the next container needs."""
        label = f"label=snakeval.task={self.job.run_dir.name}/{self.job.settings.task}"
        words = ["ps", "-aq", "--filter", label]
        words += ["--filter", f"label=snakeval.folder={self.job.folder}"]
        until = time.monotonic() + 20
        while (left := said_by(self.engine, *words).split()) and time.monotonic() < until:
            if not quietly(self.engine, "rm", "-f", *left):
                time.sleep(STEP)


def confined(extra_args: list[str]) -> list[str]:
    """What no harness needs is taken: what root of a container may do beyond its own files and
    processes, and set-uid programs. `extra_docker_args` come later, and win."""
    words = ["--security-opt", "no-new-privileges"]
    # An engine adds after it has dropped: ours would undo what the user says.
    if not any(word.startswith("--cap-drop") for word in extra_args):
        words += ["--cap-drop", "ALL"]
        for name in CAPABILITIES:
            words += ["--cap-add", name]
    return words


def first_lines(log: Path, pattern: re.Pattern[str], count: int = 20) -> list[str]:
    """What a pattern finds in the first lines of a log."""
    found = []
    with log.open(encoding="utf-8", errors="replace") as lines:
        for _, line in zip(range(count), lines):  # noqa: B905 # Python 3.9
            if match := pattern.match(line):
                found.append(match[1])
    return found


class _Words:
    """A container in an engine's words."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.words: list[str] = []

    def add_mount(self, source: str, target: str, read_only: bool = False) -> None:
        self.words += ["-v", f"{source}:{target}{':ro' if read_only else ''}"]

    def add_name(self, name: str) -> None:
        self.words += ["-e", name]

    def add_value(self, name: str, value: str) -> None:
        self.words += ["-e", f"{name}={value}"]
