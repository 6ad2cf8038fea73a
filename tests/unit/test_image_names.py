"""Which registry an image comes from, and where a mirror has it."""

import pytest

from snakeval.runtime.images import (
    apptainer_name,
    digest_of,
    enroot_name,
    mirrored,
    registry_of,
    why_not,
)

MIRROR = "registry.corp:5000/proxy"


@pytest.mark.parametrize(
    ("image", "registry", "there"),
    [
        ("nvcr.io/nvidia/eval/ifbench:26.03", "nvcr.io", "nvidia/eval/ifbench:26.03"),
        ("nvcr.io/nvidia/x@sha256:0f", "nvcr.io", "nvidia/x@sha256:0f"),
        ("vllm/vllm-openai:latest", "docker.io", "vllm/vllm-openai:latest"),
        ("debian:12", "docker.io", "library/debian:12"),
        ("docker.io/library/debian:12", "docker.io", "library/debian:12"),
        ("localhost/mine:1", "localhost", "mine:1"),
        ("10.0.0.1:5000/a/b", "10.0.0.1:5000", "a/b"),
    ],
)  # fmt: skip
def test_a_mirror_stands_for_the_registry(image: str, registry: str, there: str) -> None:
    assert registry_of(image) == registry
    assert mirrored(image, MIRROR) == f"{MIRROR}/{there}"
    assert mirrored(mirrored(image, MIRROR), MIRROR) == f"{MIRROR}/{there}"
    assert mirrored(image, None) == image


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("unauthorized: authentication required", True),
        ("pull access denied for x, repository does not exist or may require 'docker login'", True),
        ("Error response from daemon: Head: no basic auth credentials", True),
        ("dial tcp 10.0.0.1:443: connect: connection refused", False),
        ("manifest unknown", False),
    ],
)
def test_a_refusal_names_the_registry_and_the_login(said: str, refused: bool) -> None:
    what, fix = why_not("nvcr.io/nvidia/x:1", said, "docker")

    assert said in what
    assert ("the registry nvcr.io refuses it" in what) is refused
    assert "`docker login nvcr.io` (user `$oauthtoken`" in fix


def test_an_image_with_several_names_is_pinned_by_its_own() -> None:
    digests = ["old.corp/a@sha256:1", "new.corp:5000/a@sha256:2"]

    assert digest_of("new.corp:5000/a:1", digests) == "new.corp:5000/a@sha256:2"
    assert digest_of("third.corp/a:1", digests) == "old.corp/a@sha256:1"
    assert digest_of("a:1", []) is None


@pytest.mark.parametrize(
    ("image", "enroot", "apptainer"),
    [
        ("nvcr.io/nvidia/x:1", "nvcr.io#nvidia/x:1", "docker://nvcr.io/nvidia/x:1"),
        ("nvcr.io/n/x:1@sha256:0f", "nvcr.io#n/x@sha256:0f", "docker://nvcr.io/n/x:1@sha256:0f"),
        ("10.0.0.1:5000/a/b", "10.0.0.1:5000#a/b", "docker://10.0.0.1:5000/a/b"),
        ("lm.eval/harness:2", "lm.eval#harness:2", "docker://lm.eval/harness:2"),
        ("team/lm.eval/harness:2", "team/lm.eval/harness:2", "docker://team/lm.eval/harness:2"),
        ("debian:12", "debian:12", "docker://debian:12"),
        ("/lustre/x.sqsh", "/lustre/x.sqsh", "/lustre/x.sqsh"),
    ],
)
def test_an_image_is_named_in_the_words_of_the_runtime(
    image: str, enroot: str, apptainer: str
) -> None:
    assert enroot_name(image) == enroot
    assert apptainer_name(image) == apptainer
