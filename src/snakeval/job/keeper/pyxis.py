"""How the harness runs in a container of pyxis: a step of this Slurm job
(`srun --container-image`)."""

from __future__ import annotations

import os
import subprocess

from ..endpoint import free_port
from .group import Group
from .runtime import Launch
from .surroundings import furnish
from .variables import of_caller

IN_STEP = """exec 3<&0
(trap "" TERM INT HUP; read -r _ <&3; kill -TERM 0; sleep 5; kill -KILL 0) >/dev/null 2>&1 &
set -- "$(command -v sh)" "$@"
"""
"""In the container. Where srun itself is killed, Slurm closes what it gave this to read: the end of
the step's own process group. All processes of the user would be the node's, not the container's."""

AT_LAST = 'exec "$@" </dev/null 3<&-'
FLAG = "--container-image"


class Pyxis(Group):
    """`srun`, which is the leader of a group here."""

    def lacking(self) -> str:
        if not os.environ.get("SLURM_JOB_ID"):
            task = self.job.settings.task
            return f"pyxis runs containers in a Slurm job: sbatch sbatch_{task}.sh"
        try:
            said = subprocess.run(["srun", "--help"], capture_output=True, check=False)
        except OSError:
            said = None
        if said and FLAG.encode() in said.stdout + said.stderr:
            return ""
        node = os.uname().nodename
        return f"srun has no {FLAG} on this node ({node}): pyxis is not installed"

    def take_archive(self, file: str) -> None:
        self.job.image = file

    def launch(self) -> Launch:
        container = _Words(of_caller(os.environ))
        options = ["--overlap", "--nodes=1", "--ntasks=1", "--mpi=none", "--export=ALL"]
        # srun no longer takes this over from the job (since Slurm 22.05).
        if os.environ.get("SLURM_CPUS_PER_TASK"):
            options.append(f"--cpus-per-task={os.environ['SLURM_CPUS_PER_TASK']}")
        if not self.job.settings.mount_home:
            options.append("--no-container-mount-home")
        # Adapters on one host would answer each other's requests.
        container.add_value("ADAPTER_PORT", str(free_port("127.0.0.1")))
        furnish(self.job, container)
        text = f"{IN_STEP}{self.job.variables.named()}\n{AT_LAST}"
        words = ["srun", *options, FLAG, self.job.image]
        words += ["--container-mounts", ",".join(container.mounts)]
        words += ["--container-env", ",".join(container.names)]
        words += ["sh", "-c", text, "sh", "/snakeval/record/command.sh"]
        # The image's Python finds its own modules, not this environment's.
        for name in ("PYTHONPATH", "PYTHONHOME"):
            container.environment.pop(name, None)
        return Launch(words, container.environment | container.values, has_lifeline=True)


class _Words:
    """A container in pyxis's words. Named, a variable of the job takes the place of the image's
    own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.mounts: list[str] = []
        self.names: list[str] = []
        self.values: dict[str, str] = {}

    def add_mount(self, source: str, target: str, read_only: bool = False) -> None:
        self.mounts.append(f"{source}:{target}{':ro' if read_only else ''}")

    def add_name(self, name: str) -> None:
        if name in self.environment:
            self.names.append(name)

    def add_value(self, name: str, value: str) -> None:
        self.values[name] = value
        self.names.append(name)
