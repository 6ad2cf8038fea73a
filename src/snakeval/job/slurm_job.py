"""What a job knows about Slurm: its deadline, how it is being ended, the time it has left.

Called by `run.sh` from the run folder's `lib/`; standard library only, Python 3.9 or newer. The
controller imports it.

    slurm_job.py deadline                        prints when this job's limit strikes, in seconds
    slurm_job.py ending --deadline S --lead S    prints `interrupted` or `cancelled`, and why
    slurm_job.py hand_over SCRIPT                another turn of this job, or one successor
    slurm_job.py addresses NODE...               prints their IPv4 addresses, with commas
    slurm_job.py requeue                         asks for another turn of this job
    slurm_job.py budget TASK_DIR DIGEST --limit S   prints the seconds left of max_walltime
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import attempt, files, slurm_calls
from .endpoint import ipv4_of, own_address_towards

if TYPE_CHECKING:
    import argparse

RESOLUTION = 60.0
"""Seconds: Slurm sends a job's early signal that much earlier at most (sbatch(1), --signal)."""
ASKED_AGAIN = 5.0
"""Seconds between two requests that nobody has answered."""
PATIENCE = 5.0
"""Seconds that Slurm has to answer a job that is being ended."""

ENDINGS = {
    "PREEMPTED": "preempted",
    "TIMEOUT": "the time limit is reached",
    "NODE_FAIL": "the node failed",
    "BOOT_FAIL": "the node failed",
    "REQUEUED": "requeued",
    "REQUEUE_FED": "requeued",
    "REQUEUE_HOLD": "requeued",
    "PENDING": "requeued",
}
"""States of a job that is being ended by Slurm, not by a person."""


def shown(job: str = "", what: str = "job") -> dict[str, str]:
    """What `scontrol show` says about a job, or this one; empty when it cannot be asked."""
    name = job or os.environ.get("SLURM_JOB_ID", "")
    with contextlib.suppress(slurm_calls.Failed):
        text = slurm_calls.ask(
            ["scontrol", "--all", "--oneliner", "show", what, name], patience=PATIENCE
        )
        return dict(re.findall(r"(\S+?)=(\S*)", text))
    return {}


def deadline_in(fields: dict[str, str]) -> float | None:
    """The end that Slurm has set for the job, in seconds since 1970; None: none, or unknown."""
    try:
        return time.mktime(time.strptime(fields.get("EndTime", ""), "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None


def deadline() -> float | None:
    """When this job's limit strikes. Newer Slurms tell the job itself; others are asked."""
    told = os.environ.get("SLURM_JOB_END_TIME", "")
    return float(told) if told.isdigit() else deadline_in(shown())


def ending(fields: dict[str, str], deadline: float | None, lead: float) -> tuple[str, str]:
    """How a job that got TERM is being ended: the attempt's state, and why in a few words.

    fields    what Slurm says now; empty when it cannot be asked
    deadline  as it was noted when the job began; what Slurm says now counts more
    lead      seconds before the deadline at which the job asked to be told
    """
    state = fields.get("JobState", "")
    if state in ENDINGS:
        return "interrupted", ENDINGS[state]
    if fields.get("PreemptTime", "None") not in ("None", "Unknown", "N/A"):
        return "interrupted", ENDINGS["PREEMPTED"]
    if fields.get("Restarts", "0") != os.environ.get("SLURM_RESTART_COUNT", "0") and fields:
        return "interrupted", ENDINGS["REQUEUED"]
    # Of a job that is COMPLETING Slurm tells neither why nor the end that was set.
    end = deadline if state == "COMPLETING" else deadline_in(fields) or deadline
    if end is not None and end - time.time() <= lead + RESOLUTION and state != "CANCELLED":
        return "interrupted", ENDINGS["TIMEOUT"]
    by = "SIGTERM in its job" if state in ("", "RUNNING") else "scancel"
    return "cancelled", f"stopped by {by}"


def node_address() -> str:
    """This node's address, or name, as Slurm knows it; empty when it cannot be asked."""
    name = os.environ.get("SLURMD_NODENAME", "")
    return shown(name, "node").get("NodeAddr", "") if name else ""


def addresses_of(nodes: list[str]) -> list[str]:
    """The IPv4 address of each node that the others reach, in their order.

    Raises ValueError with a sentence.
    """
    said = slurm_calls.ask(["scontrol", "--oneliner", "show", "node", ",".join(nodes)])
    lines = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in said.splitlines()]
    named = {line["NodeName"]: line.get("NodeAddr", "") for line in lines if line.get("NodeName")}
    found = [ipv4_of(named.get(node) or node) or ipv4_of(node) for node in nodes]
    outside = next((address for address in found if address), "")
    here = os.environ.get("SLURMD_NODENAME", "")
    for number, node in enumerate(nodes):
        if not found[number] and node == here and outside:
            # its own name stands for a loopback address
            found[number] = own_address_towards(outside)
        if not found[number]:
            raise ValueError(f"no IPv4 address of {node} is known that other nodes reach")
    return found


def state_of(job: str) -> str | None:
    """A job's state in the queue; empty: Slurm does not have it any more; None: nobody knows."""
    try:
        return slurm_calls.ask(
            ["squeue", "--all", "--noheader", f"--jobs={job}", "--format=%T"], patience=PATIENCE
        ).strip()
    except slurm_calls.Failed as error:
        return "" if "Invalid job id" in str(error) else None


def waiting(names: set[str]) -> int | None:
    """How many of this user's jobs of such names have not begun; None: nobody knows."""
    states = "--states=PENDING,CONFIGURING,SUSPENDED"
    mine = f"--user={os.getuid()}"
    try:
        said = slurm_calls.ask(["squeue", "--all", "--noheader", mine, states, "--format=%j"])
    except slurm_calls.Failed:
        return None
    return sum(line.strip() in names for line in said.splitlines())


def requeue(job: str = "") -> str:
    """Asks for another turn of a job, or this one; what Slurm says against it, or nothing."""
    try:
        slurm_calls.ask(["scontrol", "requeue", job or os.environ["SLURM_JOB_ID"]], patience=20)
    except slurm_calls.Failed as error:
        return str(error)
    return ""


# --- the record of attempts --------------------------------------------------------------------


def last_of(record: dict[str, Any], job: str) -> dict[str, Any]:
    """The last attempt that a job has made; empty when it made none."""
    made = [item for item in record["attempts"] if item.get("job") == job]
    return made[-1] if made else {}


def correct(task_dir: Path, job: str, state: str) -> None:
    """Sets the state of a job's last attempt to what Slurm says it is."""
    record = attempt.read(task_dir)
    last = last_of(record, job)
    if last and last.get("state") in ("cancelled", "running"):
        last["state"] = record["state"] = state
        last["cause"] = record["cause"] = "ended by Slurm"
        attempt.write(task_dir, record)


def spent(record: dict[str, Any], digest: str) -> float:
    """Seconds that the attempts of Slurm jobs at a spec have taken."""
    total = 0.0
    for item in record["attempts"]:
        if item.get("digest") == digest and item.get("job") and item.get("ended"):
            with contextlib.suppress(ValueError, KeyError):
                total += files.epoch(item["ended"]) - files.epoch(item["started"])
    return total


def used_up(record: dict[str, Any], digest: str, limit: float | None) -> str:
    """The sentence that ends a task whose attempts have used up max_walltime; else empty."""
    if not limit or spent(record, digest) < limit:
        return ""
    made = [item for item in record["attempts"] if item.get("digest") == digest and item.get("job")]
    return (
        f"max_walltime ({int(limit)} s) is used up after {len(made)} attempts; its samples are "
        "kept: raise execution.max_walltime and start again to continue"
    )


# --- commands ----------------------------------------------------------------------------------


def print_deadline(_: argparse.Namespace) -> int:
    end = deadline()
    print(int(end) if end else "")
    return 0


def print_addresses(arguments: argparse.Namespace) -> int:
    try:
        print(",".join(addresses_of(arguments.nodes)))
    except (slurm_calls.Failed, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def hand_over(arguments: argparse.Namespace) -> int:
    """Another turn of this job, or else one successor: never both, and never two.

    Where Slurm does not answer, it is asked until it says what has become of the last request.
    """
    script: Path = arguments.script
    job, name = os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_JOB_NAME", "")
    turns = os.environ.get("SLURM_RESTART_COUNT", "0")
    while True:
        try:
            slurm_calls.ask(["scontrol", "requeue", job], patience=20)
            return 0
        except slurm_calls.NoAnswer:
            fields = shown(job)
            if fields and fields.get("Restarts", turns) != turns:
                return 0
            time.sleep(ASKED_AGAIN)
        except slurm_calls.Failed:
            break  # Slurm does not let it come back
    log = script.with_name("controller-%j.log")
    while True:
        try:
            named = ["squeue", "--all", "--noheader", f"--name={name}", "--format=%i"]
            if any(other.strip() != job for other in slurm_calls.ask(named).splitlines()):
                return 0
            slurm_calls.ask(
                ["sbatch", f"--dependency=afterany:{job}", f"--output={log}", str(script)],
                variables={"SNAKEVAL_SCRIPT_DIR": str(script.parent)},
            )
            return 0
        except (slurm_calls.NoAnswer, slurm_calls.Full):
            time.sleep(ASKED_AGAIN)
        except slurm_calls.Refused as error:
            print(f"no successor: {error}", file=sys.stderr)
            return 1


def ask_for_requeue(_: argparse.Namespace) -> int:
    said = requeue()
    if said:
        print(said, file=sys.stderr)
    return 1 if said else 0


def print_ending(arguments: argparse.Namespace) -> int:
    print(*ending(shown(), arguments.deadline, arguments.lead))
    return 0


def print_budget(arguments: argparse.Namespace) -> int:
    record = attempt.read(arguments.task_dir)
    message = used_up(record, arguments.digest, arguments.limit)
    print(message or int(arguments.limit - spent(record, arguments.digest)) + 1)
    return 1 if message else 0


def parser() -> argparse.ArgumentParser:
    import argparse

    outer = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = outer.add_subparsers(required=True)
    commands.add_parser("deadline").set_defaults(run=print_deadline)
    command = commands.add_parser("hand_over")
    command.add_argument("script", type=Path)
    command.set_defaults(run=hand_over)
    command = commands.add_parser("addresses")
    command.add_argument("nodes", nargs="+")
    command.set_defaults(run=print_addresses)
    commands.add_parser("requeue").set_defaults(run=ask_for_requeue)
    command = commands.add_parser("ending")
    command.add_argument("--deadline", type=lambda text: float(text) if text else None)
    command.add_argument("--lead", type=float, default=120.0)
    command.set_defaults(run=print_ending)
    command = commands.add_parser("budget")
    command.add_argument("task_dir", type=Path)
    command.add_argument("digest")
    command.add_argument("--limit", type=float, required=True)
    command.set_defaults(run=print_budget)
    return outer


if __name__ == "__main__":
    given = parser().parse_args()
    sys.exit(given.run(given))
