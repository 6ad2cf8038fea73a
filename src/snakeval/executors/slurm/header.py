"""What the batch scripts of benchmarks, servers and controllers begin with."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from snakeval import __version__
from snakeval.executors.slurm.submit import FOLDER
from snakeval.job.files import now
from snakeval.render import bash


def header(
    flags: Sequence[Sequence[str]], facts: Sequence[str], marker: str, folder: str
) -> list[str]:
    """The lines up to where the script knows its own folder. No path of the run is in them.

    flags   of sbatch, each with its value
    facts   comments for the reader
    marker  a file of that folder, by which it is known
    folder  the shell variable that gets its path
    """
    return [
        "#!/usr/bin/env bash",
        *map(bash.sbatch, flags),
        "#",
        *map(bash.comment, facts),
        bash.comment(f"created:   {now()} by snakeval {__version__}"),
        "",
        _HERE.format(told=FOLDER, marker=shlex.quote(marker), folder=folder),
    ]


# sbatch copies the script away. Who submits it for the pipeline tells the job where it was; for one
# that a person has submitted Slurm knows it.
_HERE = """\
{folder}=${{{told}:-}}
unset {told}
[ -n "${{SLURM_JOB_ID:-}}" ] || {folder}=$(dirname "$0")
for pause in 1 2 4 8 15 30; do
    [ -z "${folder}" ] || break
    {folder}=$(scontrol --all show job "$SLURM_JOB_ID" 2>/dev/null |
        sed -n 's/^ *Command=\\(.*\\)\\/[^/]*$/\\1/p')
    [ -n "${folder}" ] || [ -e "${{SLURM_SUBMIT_DIR:-}}"/{marker} ] || sleep "$pause"
done
if [ ! -e "${folder}"/{marker} ] && [ -e "${{SLURM_SUBMIT_DIR:-}}"/{marker} ]; then
    {folder}=$SLURM_SUBMIT_DIR
fi
if [ -z "${folder}" ]; then
    echo "Slurm's controller does not answer, and only it knows where this script was:" \\
        "submit it from its own folder (cd FOLDER, sbatch NAME)" >&2
    exit 1
elif [ ! -e "${folder}"/{marker} ]; then
    echo "the run folder is not on this node ($(uname -n)): ${folder}" >&2
    echo "execution.output_dir must be a folder that all nodes see" >&2
    exit 1
fi"""
