"""How the harness runs in a container of apptainer: processes of this user, on this network."""

from __future__ import annotations

import os
import shutil

from ..endpoint import free_port
from .group import Group
from .runtime import Launch
from .surroundings import furnish
from .variables import of_caller

AT_LAST = 'exec "$@"'


class Apptainer(Group):
    """`apptainer exec`."""

    def lacking(self) -> str:
        return "" if shutil.which("apptainer") else f"apptainer is not on this machine ({_node()})"

    def take_archive(self, file: str) -> None:
        self.job.image = file

    def launch(self) -> Launch:
        container = _Words(of_caller(os.environ))
        # Nothing of the node but what is named; a layer in memory for what the image writes
        # elsewhere.
        container.words += ["--cleanenv", "--writable-tmpfs", "--no-mount", "cwd"]
        container.words += ["--pwd", "/results"]
        if not self.job.settings.mount_home:
            container.words.append("--no-home")
        # Adapters on one host would answer each other's requests.
        container.add_value("ADAPTER_PORT", str(free_port("127.0.0.1")))
        furnish(self.job, container)
        text = f'set -- "$(command -v sh)" "$@"\n{self.job.variables.named()}\n{AT_LAST}'
        words = ["apptainer", "exec", *container.words, self.job.image]
        words += ["sh", "-c", text, "sh", "/snakeval/record/command.sh"]
        return Launch(words, container.environment)


class _Words:
    """A container in apptainer's words."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.words: list[str] = []

    def add_mount(self, source: str, target: str, read_only: bool = False) -> None:
        self.words += ["--bind", f"{source}:{target}{':ro' if read_only else ''}"]

    def add_name(self, name: str) -> None:
        """With this prefix a variable reaches the container; on the command line everybody could
        read it."""
        if name in self.environment:
            self.environment[f"APPTAINERENV_{name}"] = self.environment[name]

    def add_value(self, name: str, value: str) -> None:
        self.environment[f"APPTAINERENV_{name}"] = value


def _node() -> str:
    return os.uname().nodename
