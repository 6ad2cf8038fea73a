"""Podman: asked through its command line, which needs no service."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Collection, Sequence

from snakeval.errors import InputError, Problem
from snakeval.plan.run import Task
from snakeval.runtime.images import digest_of, mirrored, repository_of, why_not
from snakeval.runtime.progress import run_with_progress


class Podman:
    """Needs the `podman` command; its flags for a host come from containers.conf."""

    def problems(self, tasks: Sequence[Task]) -> list[Problem]:
        return self.images({(str(task.image), task.image_mirror) for task in tasks})

    def images(self, wanted: Collection[tuple[str, str | None]]) -> list[Problem]:
        """What keeps containers of these images from running here."""
        if shutil.which("podman") is None:
            images = ", ".join(sorted({image for image, _ in wanted}))
            return [
                Problem(
                    "podman",
                    f"the command is not on the PATH (wanted for {images})",
                    "install podman, or choose container_runtime=docker",
                )
            ]
        answer = _podman("info", "--format", "json")
        if answer.returncode:
            return [
                Problem(
                    "podman",
                    f"does not work here: {_last_line(answer.stderr)}",
                    "`podman info` must answer",
                )
            ]
        return []

    def pin(self, image: str, again: bool, mirror: str | None = None) -> str:
        """`name@sha256:...`, or the image's own id where it came from no registry."""
        if unusable := self.images({(image, mirror)}):  # told before, as with Docker
            raise InputError(unusable)
        here = _podman("image", "inspect", image)
        if here.returncode or again:
            image = mirrored(image, mirror)
            here = _podman("image", "inspect", image)
        if here.returncode or again:
            code, said = run_with_progress(["podman", "pull", image])
            here = _podman("image", "inspect", image) if code == 0 else here
            if here.returncode:
                raise InputError([Problem("podman", *why_not(image, said, "podman"))])
        return _pinned(image, here.stdout)

    def look_up(self, image: str, again: bool, mirror: str | None = None) -> str:
        """As `pin`, for jobs that run elsewhere: what is not here is not pulled."""
        if unusable := self.images({(image, mirror)}):
            raise InputError(unusable)
        here = _podman("image", "inspect", image)
        if here.returncode:
            what = "is not on this machine, whose jobs run elsewhere: they take it as it is written"
            raise InputError([Problem("podman", f"{image} {what}")])
        return _pinned(image, here.stdout)

    def latest(self, image: str, mirror: str | None = None) -> str | None:
        """Asked through `skopeo`, which has podman's logins and registries: podman itself asks a
        registry only to pull. Without it nobody here can say."""
        here = _podman("image", "inspect", image) if shutil.which("podman") else None
        if here and here.returncode == 0 and "@" not in _pinned(image, here.stdout):
            return _pinned(image, here.stdout)  # built here
        if shutil.which("skopeo") is None:
            return None
        name = mirrored(image, mirror)
        asked = ["skopeo", "inspect", "--no-tags", "--format", "{{.Digest}}", f"docker://{name}"]
        said = subprocess.run(
            asked, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        digest = said.stdout.strip()
        return f"{repository_of(name)}@{digest}" if digest.startswith("sha256:") else None

    def here(self, image: str) -> str | None:
        """The id of the image that a name means in this engine now."""
        if shutil.which("podman") is None:
            return None
        here = _podman("image", "inspect", image)
        return None if here.returncode else str(json.loads(here.stdout)[0]["Id"])


def _pinned(image: str, inspected: str) -> str:
    """The reference of an image that is here, of what `podman image inspect` prints."""
    facts = json.loads(inspected)[0]
    remote = [
        digest for digest in facts.get("RepoDigests") or [] if not digest.startswith("localhost/")
    ]
    return digest_of(image, remote) or str(facts["Id"])


def _podman(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["podman", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"
