"""The config groups have the launcher's defaults; what differs is meant, and listed here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.docker_engine import RigUnavailable
from rig.launcher_environment import launcher_python
from rig.unavailable import unavailable

OURS = Path(__file__).parents[2] / "config"

COMMANDS = {"command", "base_command"}
"""A type's own, in plan/server.py: with the address that the benchmarks need."""

WEIGHTS = {"checkpoint_path"}
"""null here: who writes hf_model_handle need not take it back."""

OF_NVIDIA = {
    "lepton_platform.deployment.node_group",
    "lepton_platform.deployment.platform_defaults",
    "lepton_platform.tasks.node_group",
    "lepton_platform.tasks.mounts",
    "lepton_platform.tasks.image_pull_secrets",
}
"""Names of NVIDIA's own clusters and secrets."""

MEANT: dict[str, set[str]] = {
    "deployment/generic.yaml": set(),
    "deployment/nim.yaml": COMMANDS,
    "deployment/none.yaml": set(),
    "deployment/sglang.yaml": COMMANDS | WEIGHTS,
    "deployment/trtllm.yaml": COMMANDS,
    "deployment/vllm.yaml": COMMANDS | WEIGHTS,
    # variables of the type are in plan/server.py, so that env_vars of a config's own win
    "deployment/vllm_ray.yaml": COMMANDS | {"env_vars"},
    "execution/local.yaml": {"mode"},  # as many at once as the profile has cores
    "execution/slurm/default.yaml": {
        "hostname",  # the pipeline runs on the login node
        "username",
        "subproject",
        "deployment.n_tasks",  # null says the same
        "mounts.auxiliary",
        "mounts.mount_home",  # the token of the hub lies there: servers see it where it is written
    },
    "execution/lepton/default.yaml": OF_NVIDIA,
}


@pytest.fixture(scope="module")
def theirs() -> Path:
    try:
        library = launcher_python().parents[1] / "lib"
    except RigUnavailable as reason:
        unavailable(reason)
    return next(library.glob("python*/site-packages/nemo_evaluator_launcher/configs"))


def values(content: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted key; a section that we list as meant counts whole."""
    for key, value in content.items():
        where = f"{path}.{key}".lstrip(".")
        whole = any(where in keys for keys in MEANT.values())
        if isinstance(value, dict) and value and not whole:
            yield from values(value, where)
        else:
            yield where, value


@pytest.mark.parametrize("name", MEANT)
def test_a_group_has_the_launchers_defaults(theirs: Path, name: str) -> None:
    their = yaml.safe_load((theirs / name).read_text())
    if their.pop("defaults", None):  # laid over vllm
        their = {**yaml.safe_load((theirs / "deployment" / "vllm.yaml").read_text()), **their}
        their["type"] = "vllm_ray"
        their.pop("checkpoint_path")
    our = dict(values(yaml.safe_load((OURS / name).read_text())))

    differ = {key for key, value in values(their) if our.get(key, "absent") != value}

    assert differ - MEANT[name] == set()
    assert MEANT[name] & {key for key, _ in values(their)} <= differ | COMMANDS


def test_every_group_of_theirs_is_one_of_ours(theirs: Path) -> None:
    found = {
        str(path.relative_to(theirs))
        for group in ("deployment", "execution")
        for path in (theirs / group).rglob("*.yaml")
    }
    assert found == set(MEANT)
