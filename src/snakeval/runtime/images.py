"""How images are named: which registry an image comes from, and where a mirror has it."""

from __future__ import annotations

import re
from collections.abc import Sequence

DOCKER_HUB = "docker.io"

REFUSED = re.compile(
    r"unauthorized|denied|authentication required|no basic auth|forbidden|\b40[13]\b", re.IGNORECASE
)
"""In the words of an engine: the registry is there, and gives the image not to this caller."""


def registry_of(image: str) -> str:
    """`nvcr.io/nvidia/x:1` -> `nvcr.io`; names without a host are of Docker Hub."""
    first, slash, _ = image.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return first if is_host else DOCKER_HUB


def repository_of(image: str) -> str:
    """An image's name without its tag and digest."""
    name = image.partition("@")[0]
    return name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name


def is_pinned(reference: str) -> bool:
    """Whether it will always mean the same image: `name@sha256:...`, or an engine's own id."""
    return reference.startswith("sha256:") or "@sha256:" in reference


def digest_of(image: str, digests: Sequence[str]) -> str | None:
    """The digest under the image's own repository, else under any: one image may have several."""
    own = [digest for digest in digests if digest.partition("@")[0] == repository_of(image)]
    return next(iter([*own, *digests]), None)


def mirrored(image: str, mirror: str | None) -> str:
    """The image as a mirror names it: the registry's host is replaced by the mirror's prefix.

    `debian:12` is `library/debian:12` there, as Docker Hub has it. An image of the mirror itself,
    and one by its id, stay as they are.
    """
    if not mirror or image.startswith((f"{mirror}/", "sha256:")):
        return image
    registry = registry_of(image)
    path = image.removeprefix(f"{registry}/")
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return f"{mirror}/{path}"


def apptainer_name(image: str) -> str:
    """The image in apptainer's words: a file, or where it comes from."""
    return image if image.startswith("/") or "://" in image else f"docker://{image}"


def enroot_name(image: str) -> str:
    """The image in enroot's words: a file, or `registry#path`.

    Enroot 3 reads no tag beside a digest.
    """
    if image.startswith("/") or "#" in image:
        return image
    if "@" in image:
        image = f"{repository_of(image)}@{image.partition('@')[2]}"
    registry = registry_of(image)
    path = image.removeprefix(f"{registry}/")
    return path if path == image else f"{registry}#{path}"


def login_hint(image: str, command: str) -> str:
    """How to log in to an image's registry with `docker` or `podman`."""
    registry = registry_of(image)
    name = "" if registry == DOCKER_HUB else f" {registry}"
    ngc = " (user `$oauthtoken`, password: an NGC API key)" if registry == "nvcr.io" else ""
    return f"`{command} login{name}`{ngc}"


def why_not(image: str, said: str, command: str) -> tuple[str, str]:
    """What is wrong with an image that cannot be pulled, and what to do.

    said: the engine's words. command: docker or podman.
    """
    if REFUSED.search(said):
        return (
            f"image {image} is not here and the registry {registry_of(image)} refuses it: {said}",
            (
                f"{login_hint(image, command)}; or check the name (evaluation.tasks[].container or "
                "the catalogue)"
            ),
        )
    return (
        f"image {image} is not here and cannot be pulled: {said}",
        (
            "check the name (evaluation.tasks[].container or the catalogue), "
            f"{login_hint(image, command)}, a mirror (execution.image_mirror), or load it with "
            f"`{command} load`"
        ),
    )
