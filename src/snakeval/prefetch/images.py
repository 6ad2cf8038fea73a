"""Brings the images of a run into files beside the run folders (see `archives`).

docker, podman   pulled here if need be, then `save`d; a node loads the file, or has it already
apptainer        `apptainer pull`
pyxis            `enroot import`, the program that pyxis itself starts containers with
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from snakeval.errors import InputError, Problem
from snakeval.job.files import mapping_in, read_json
from snakeval.plan.run import Run, Task
from snakeval.runtime import RUNTIMES, archives, on_nodes
from snakeval.runtime.archives import Prefetched
from snakeval.runtime.images import apptainer_name, enroot_name, why_not
from snakeval.runtime.on_nodes import Apptainer
from snakeval.runtime.progress import run_with_progress


def bring(run: Run, tasks: Sequence[Task], runtime: str, say: Callable[[str], None]) -> list[Path]:
    """Makes a file of every image of these tasks that has none yet; the files.

    runtime  of the nodes
    Raises InputError with every image that cannot be had.
    """
    images = {str(task.image): task.image_mirror for task in tasks if task.image}
    if runtime in ("process", "image") or not images:
        return []
    if runtime not in archives.KINDS:
        possible = ", ".join(RUNTIMES)
        raise InputError(
            [
                Problem(
                    "container_runtime", f"there is no runtime '{runtime}'", f"possible: {possible}"
                )
            ]
        )
    problems = _lacking(runtime, images)
    if problems:
        raise InputError(problems)
    found = []
    for image, mirror in images.items():
        if is_file(image):
            say(f"{image}: is a file already")
            continue
        try:
            found.append(_bring(run, image, mirror, runtime, say))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return found


def is_file(image: str) -> bool:
    """Whether the config names a file (`/lustre/x.sif`) in place of an image."""
    return image.startswith("/")


def _lacking(runtime: str, images: Mapping[str, str | None]) -> list[Problem]:
    """What makes the files is not here."""
    wanted = {(image, mirror) for image, mirror in images.items() if not is_file(image)}
    if runtime == "apptainer":
        return Apptainer().lacking(wanted)
    if runtime != "pyxis":
        return RUNTIMES[runtime]().images(wanted)
    if shutil.which("enroot") or not wanted:
        return []
    return [
        Problem(
            "enroot",
            f"the command is not on the PATH (wanted for {', '.join(sorted(dict(wanted)))})",
            "start `snakemake prefetch` where enroot is installed (on many clusters a compute "
            "node: `srun --pty bash`), or name a .sqsh file in evaluation.tasks[].container",
        )
    ]


def _bring(
    run: Run, image: str, mirror: str | None, runtime: str, say: Callable[[str], None]
) -> Path:
    output_dir = run.paths.dir.parent
    pinned = _pinned_by(run).get(image)
    if runtime in ("docker", "podman"):
        pinned = RUNTIMES[runtime]().pin(pinned or image, run.update_images, mirror)
        identity = _id_of(pinned, runtime)
    else:
        pinned, identity = on_nodes.reference(pinned or image, image, mirror), ""
    file = archives.place(output_dir, image, runtime)
    made = Prefetched(image, pinned, identity, str(file.relative_to(output_dir)))
    if archives.find(output_dir, image, runtime) == made and not run.update_images:
        say(f"{image}: is in {file} already")
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    archives.record(file).unlink(missing_ok=True)
    part = file.with_name(f".{file.name}")
    part.unlink(missing_ok=True)
    say(f"{image}: writing {file}")
    try:
        _run(_command(runtime, pinned, part), image)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    archives.note(output_dir, made)
    return file


def _command(runtime: str, pinned: str, file: Path) -> list[str]:
    if runtime == "docker":
        return ["docker", "save", "--output", str(file), pinned]
    if runtime == "podman":
        return ["podman", "save", "--format", "docker-archive", "--output", str(file), pinned]
    if runtime == "apptainer":
        return ["apptainer", "pull", "--force", str(file), apptainer_name(pinned)]
    return ["enroot", "import", "--output", str(file), f"docker://{enroot_name(pinned)}"]


def _run(command: Sequence[str], image: str) -> None:
    """Runs it with its own lines of progress. Raises InputError with its last line."""
    code, last = run_with_progress(command)
    if code:
        said = last or f"exit code {code}"
        raise InputError([Problem(command[0], *why_not(image, said, command[0]))])


def _id_of(pinned: str, runtime: str) -> str:
    """The image's own id, the same in docker and podman. Raises InputError."""
    shown = subprocess.run(
        [runtime, "image", "inspect", "--format", "{{.Id}}", pinned],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if shown.returncode:
        raise InputError([Problem(runtime, f"image {pinned}: {shown.stderr.strip()}")])
    return f"sha256:{shown.stdout.strip().removeprefix('sha256:')}"


def _pinned_by(run: Run) -> dict[str, str]:
    """The images that the run uses since its first start."""
    return mapping_in(read_json(run.paths.record), "images")
