"""A laptop without Slurm, and a login node that a real sshd on the loopback address is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.docker_engine import RigUnavailable
from rig.laptop import Laptop
from rig.ssh_server import SshServer
from rig.unavailable import unavailable


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    home = tmp_path / "home-there"
    home.mkdir()
    try:
        with SshServer(tmp_path / "sshd", {"HOME": str(home)}) as server:
            yield Laptop(server, tmp_path / "here", tmp_path / "there")
    except RigUnavailable as reason:
        unavailable(reason)
