"""Docker: the engine is asked through its SDK, the jobs use its command line."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from snakeval.errors import InputError, Problem
from snakeval.job.endpoint import is_local
from snakeval.plan.run import Task
from snakeval.runtime.images import digest_of, mirrored, repository_of, why_not


class Docker:
    """Needs a reachable engine, and the `docker` command for the jobs."""

    def __init__(self) -> None:
        self._client: Any = None

    def problems(self, tasks: Sequence[Task]) -> list[Problem]:
        images = {(str(task.image), task.image_mirror) for task in tasks}
        unusable = self.unusable(", ".join(sorted({image for image, _ in images})))
        return [unusable] if unusable else [*self._unreached(tasks), *self._all_missing(images)]

    def images(self, wanted: Collection[tuple[str, str | None]]) -> list[Problem]:
        """What keeps containers of these images (each with its mirror) from running here."""
        unusable = self.unusable(", ".join(sorted({image for image, _ in wanted})))
        return [unusable] if unusable else self._all_missing(wanted)

    def _all_missing(self, wanted: Collection[tuple[str, str | None]]) -> list[Problem]:
        images = sorted((image, mirror or "") for image, mirror in wanted)
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda image: self._missing(*image), images)
            return [problem for problem in found if problem]

    def _unreached(self, tasks: Sequence[Task]) -> list[Problem]:
        """Endpoints at this machine's loopback address, with an engine whose "host network" is
        a namespace of its own."""
        local = [url for task in tasks if (url := task.endpoint.url) and is_local(url)]
        if not local or "name=rootless" not in self._engine().info().get("SecurityOptions", []):
            return []
        return [
            Problem(
                "docker",
                f"is rootless: its containers do not reach {local[0]}, unless the engine was set "
                "up so",
                "give this machine's own address in target.api_endpoint.url, and let the server "
                "bind to it",
                warning=True,
            )
        ]

    def unusable(self, images: str) -> Problem | None:
        """Why nothing can be run here, such as these images; None when it can."""
        if shutil.which("docker") is None:
            return Problem(
                "docker",
                f"the command is not on the PATH (wanted for {images})",
                "install the Docker command line, or choose container_runtime=podman",
            )
        try:
            self._engine()
        except Exception as error:
            return Problem(
                "docker",
                f"the engine cannot be reached: {_unreached(error)} (wanted for {images})",
                "start Docker, or set DOCKER_HOST; `docker version` must answer",
            )
        return None

    def _missing(self, image: str, mirror: str) -> Problem | None:
        """An image that is neither here nor in its registry; nothing is pulled yet."""
        from docker.errors import APIError, ImageNotFound

        engine = self._engine()
        image = self._where(image, mirror)
        try:
            try:
                engine.images.get(image)
            except ImageNotFound:
                engine.images.get_registry_data(image)
        except APIError as error:
            return _no_image(image, error)
        except OSError:  # a slow registry; the pull will tell
            return None
        return None

    def _where(self, image: str, mirror: str | None) -> str:
        """The image's own name where it is here by that name, else the mirror's."""
        from docker.errors import ImageNotFound

        if not mirror:
            return image
        try:
            self._engine().images.get(image)
        except ImageNotFound:
            return mirrored(image, mirror)
        return image

    def pin(self, image: str, again: bool, mirror: str | None = None) -> str:
        """`name@sha256:...`, or the image's own id where it came from no registry."""
        from docker.errors import DockerException, ImageNotFound

        if unusable := self.unusable(image):  # told before, as a warning, where jobs run elsewhere
            raise InputError([unusable])
        engine = self._engine()
        try:
            image = mirrored(image, mirror) if again else self._where(image, mirror)
            local = engine.images.get(image)
        except ImageNotFound:
            local = None
        except DockerException as error:
            raise InputError([Problem("docker", f"image {image}: {_reason(error)}")]) from None
        if local is None or (again and local.attrs.get("RepoDigests")):
            try:
                self._pull(image)
                local = engine.images.get(image)
            except DockerException as error:
                if local is None:
                    raise InputError([_no_image(image, error)]) from None
        digests = local.attrs.get("RepoDigests") or []
        return digest_of(image, digests) or str(local.id)

    def look_up(self, image: str, again: bool, mirror: str | None = None) -> str:
        """As `pin`, for jobs that run elsewhere: the registry is asked, and nothing pulled."""
        from docker.errors import DockerException, ImageNotFound

        if unusable := self.unusable(image):
            raise InputError([unusable])
        engine = self._engine()
        try:
            image = mirrored(image, mirror) if again else self._where(image, mirror)
            with contextlib.suppress(ImageNotFound):
                local = engine.images.get(image)
                digests = local.attrs.get("RepoDigests") or []
                if not (again and digests):
                    return digest_of(image, digests) or str(local.id)
            if "@" in image:
                return image
            said = engine.images.get_registry_data(image)
        except DockerException as error:
            raise InputError([_no_image(image, error)]) from None
        return f"{repository_of(image)}@{said.id}"

    def latest(self, image: str, mirror: str | None = None) -> str | None:
        """As `look_up`, for somebody who can do without."""
        try:
            return self.look_up(image, True, mirror)
        except (InputError, OSError):
            return None

    def here(self, image: str) -> str | None:
        """The id of the image that a name means in this engine now."""
        from docker.errors import DockerException

        try:
            return str(self._engine().images.get(image).id)
        except (DockerException, OSError):
            return None

    def _engine(self) -> Any:
        if self._client is None:
            import docker

            client = docker.from_env(timeout=60)
            client.ping()
            self._client = client
        return self._client

    def _pull(self, image: str) -> None:
        """Pulls with a progress line per image. Raises DockerException."""
        from docker.errors import DockerException
        from docker.utils import parse_repository_tag
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        repository, tag = parse_repository_tag(image)
        columns = (
            TextColumn("pulling {task.description}"),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        layers: dict[str, tuple[int, int]] = {}
        with Progress(*columns, console=Console(stderr=True)) as progress:
            shown = progress.add_task(image, total=None)
            events = self._engine().api.pull(
                repository, tag=tag or "latest", stream=True, decode=True
            )
            for event in events:
                if "error" in event:
                    raise DockerException(event["error"])
                detail = event.get("progressDetail") or {}
                if event.get("status") == "Downloading" and "total" in detail:
                    layers[event["id"]] = (detail["current"], detail["total"])
                    progress.update(
                        shown,
                        completed=sum(done for done, _ in layers.values()),
                        total=sum(size for _, size in layers.values()),
                    )


def _no_image(image: str, error: Exception) -> Problem:
    return Problem("docker", *why_not(image, _reason(error), "docker"))


def _unreached(error: Exception) -> str:
    """What the system said, without the names of the exceptions around it, and of which address."""
    said = re.search(r"\w+Error\(\d+, '([^']+)'\)", str(error))
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    return f"{said.group(1)}: {address}" if said else _reason(error)


def _reason(error: Exception) -> str:
    """The engine's own words, in one line."""
    text = getattr(error, "explanation", None) or str(error)
    return " ".join(str(text).split())[:300]
