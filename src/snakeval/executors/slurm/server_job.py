"""The batch script of a deployment: its server, and the supervisor that keeps it up, on a node."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from snakeval.config.execution.slurm import SlurmExecution
from snakeval.executors.slurm.header import header
from snakeval.executors.slurm.resources import (
    asks_for_whole_nodes,
    extra_flags,
    flag_names,
    lead,
    notation,
    seconds,
    written_walltime,
)
from snakeval.plan.run import Run
from snakeval.plan.server import Server
from snakeval.run_folder.layout import ServerPaths

NAME = "sbatch_server.sh"


def name_of(paths: ServerPaths) -> str:
    """The name of a server's job."""
    return f"server.{paths.dir.name}.{paths.dir.parents[1].name}"


def described(run: Run, server: Server, defaults: Mapping[str, int | str]) -> list[list[str]]:
    """The flags of the job: the launcher's `execution` fields, else the profile's defaults."""
    execution = run.config.execution
    account, partition, runtime = (
        defaults.get(name) for name in ("slurm_account", "slurm_partition", "runtime")
    )
    limit = written_walltime(run) or (int(runtime) * 60 if isinstance(runtime, int) else None)
    cluster = defaults.get("clusters")
    comment, shape, extra = None, [], dict[str, object]()
    if isinstance(execution, SlurmExecution):
        account = execution.account or account
        cluster = execution.cluster or cluster
        if "partition" in execution.model_fields_set or not partition:
            partition = execution.partition
        comment = execution.sbatch_comment
        extra = execution.sbatch_extra_flags | execution.deployment.sbatch_extra_flags
        tasks = execution.ntasks_per_node
        shape = [f"--nodes={server.nodes * server.instances}", f"--ntasks-per-node={tasks}"]
        if execution.gpus_per_node and _wants_gpus(server):
            shape.append(f"--gpus-per-node={execution.gpus_per_node}")
        shape += _cpus_and_memory(run, server, extra)
    if gres := _gres(run, server):
        shape.append(f"--gres={gres}")
    return [
        ["--job-name", name_of(run.paths.server(server.name))],
        *([["--clusters", str(cluster)]] if cluster else []),
        *([["-A", str(account)]] if account else []),
        *([["-p", str(partition)]] if partition else []),
        *([["-t", notation(limit)]] if limit else []),
        *([word] for word in shape),
        *([word] for word in shlex.split(extra_flags(extra))),
        ["--comment", comment or f"snakeval {run.paths.id} server {server.name}"],
        ["--requeue"],
        ["--open-mode=append"],
        [f"--signal=B:USR1@{lead(limit)}"],
    ]


def _cpus_and_memory(run: Run, server: Server, extra: Mapping[str, object]) -> list[str]:
    """What a server's processes need of a node; not a benchmark's `mem_mb` of the profile.

    extra  flags of sbatch that the config has; they win
    """
    execution = run.config.execution
    if not isinstance(execution, SlurmExecution):
        return []
    own, gpus, flags = execution.deployment, gpus_asked(run, server), set(flag_names(extra))
    whole = asks_for_whole_nodes(extra)
    cpus = own.cpus or (0 if whole else gpus * own.cpus_per_gpu)
    memory = own.mem_mb or (0 if whole else gpus * own.mem_mb_per_gpu)
    found = []
    if cpus and not flags & {"cpus-per-task", "cpus-per-gpu", "c"}:
        found.append(f"--cpus-per-task={max(1, cpus // execution.ntasks_per_node)}")
    if (memory or whole) and not flags & {"mem", "mem-per-cpu", "mem-per-gpu"}:
        found.append(f"--mem={memory}")  # 0: all of the node's
    return found


def gpus_asked(run: Run, server: Server) -> int:
    """GPUs that the server's job asks for on each node."""
    execution = run.config.execution
    if isinstance(execution, SlurmExecution) and execution.gpus_per_node and _wants_gpus(server):
        return execution.gpus_per_node
    counted = re.findall(r"gpu(?::[^:,(]+)*?(?::(\d+))?(?=[,(]|$)", _gres(run, server))
    return sum(int(count or 1) for count in counted)


def _wants_gpus(server: Server) -> bool:
    return server.gpus not in ("0", "none")


def _gres(run: Run, server: Server) -> str:
    """GPUs of the job: what `deployment.gpus` counts, else `execution.gres`.

    The launcher's default of eight is for containers; a process gets what the config itself names.
    """
    if not _wants_gpus(server):
        return ""
    if server.gpus and server.gpus != "all":
        count = len(server.gpus.split(",")) if "," in server.gpus else int(server.gpus)
        return f"gpu:{count}"
    execution = run.config.execution
    if not isinstance(execution, SlurmExecution) or execution.gpus_per_node:
        return ""
    if server.type == "process" and "gres" not in execution.model_fields_set:
        return ""
    return execution.gres or ""


def batch_script(run: Run, server: Server, flags: Sequence[Sequence[str]], image: str) -> str:
    """`sbatch_server.sh`: keeps the server up on a node. No path of the run is in it."""
    limit = next((words[1] for words in flags if words[0] == "-t"), None)
    notice = lead(seconds(limit) if limit else None)
    facts = [
        f"run:       {run.paths.id}",
        f"server:    {server.name} ({server.type}): serves {server.model}",
        f"image:     {image or 'none: a process of the node'}",
        f"By hand:   sbatch deployments/{server.name}/{NAME}; it ends when idle.",
        "It comes back after its time limit, a preemption or a requeue; benchmarks wait.",
    ]
    return "\n".join(
        [
            *header(flags, facts, NAME, "here"),
            f"export SNAKEVAL_LEAD={notice}   # seconds of notice before the limit",
            'exec bash "$here"/server.sh',
            "",
        ]
    )
