"""The same promises with podman: a real container, killed and continued."""

import os
import signal
from pathlib import Path

import pytest
from interrupted import PARALLELISM, Evaluation

from rig.docker_engine import DockerEngine
from rig.endpoint import ScriptedEndpoint
from rig.pipeline import nemo_sums
from rig.podman import Podman
from rig.waiting import PATIENCE

WITH_PODMAN = ("--default-resources", "container_runtime='podman'", "--retries", "0")


@pytest.mark.podman
@pytest.mark.docker
def test_a_podman_container_ends_with_its_script_and_is_continued(
    tmp_path: Path,
    endpoint: ScriptedEndpoint,
    docker_engine: DockerEngine,
    nemo_image: str,
    podman: Podman,
) -> None:
    # given the real evaluation image in podman
    image = podman.ensure_image(docker_engine, nemo_image)
    evaluation = Evaluation.prepare(
        tmp_path, endpoint, "podman", long={**nemo_sums(), "container": image}
    )
    endpoint.latency = 0.3
    # when it is killed in the middle, by the script's death and by Ctrl-C
    for number in (signal.SIGKILL, signal.SIGINT):
        with evaluation.project.started(*WITH_PODMAN) as snakemake:
            evaluation.wait_for_the_middle(evaluation.answered + 8)
            assert evaluation.containers()
            with evaluation.endpoint.holding():
                os.killpg(snakemake.pid, number)
                assert snakemake.wait(PATIENCE) != 0
                evaluation.wait_until_nothing_runs()
    # then the same command continues
    evaluation.project.snakemake(*WITH_PODMAN).check()
    evaluation.check_published(asked_again_at_most=2 * PARALLELISM)
    assert evaluation.attempts() == ["interrupted", "cancelled", "published"]
