"""NVIDIA's harnesses: an image for each, and an endpoint that answers as all of them need."""

from collections.abc import Callable, Iterator

import pytest
from answers import JUDGE, USER, reply

from rig.docker_engine import DockerEngine, RigUnavailable
from rig.endpoint import ScriptedEndpoint
from rig.harness_images import ensure_harness_image
from rig.pipeline import MODEL
from rig.unavailable import unavailable


@pytest.fixture
def image_of(docker_engine: DockerEngine) -> Callable[[str], str]:
    """The tag of a harness's image, built where it is missing."""

    def image(harness: str) -> str:
        try:
            return ensure_harness_image(docker_engine, harness)
        except RigUnavailable as reason:
            unavailable(reason)

    return image


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    """The model, a judge and a simulated user at one address."""
    with ScriptedEndpoint(models=[MODEL, JUDGE, USER]) as endpoint:
        endpoint.reply = reply
        yield endpoint
