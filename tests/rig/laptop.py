"""A laptop whose user has a config that names a login node."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rig.pipeline import ROOT, Finished
from rig.ssh_server import HOST, SshServer


@dataclass
class Laptop:
    """here: the folder that its user is in; there: the folder on the login node."""

    server: SshServer
    here: Path
    there: Path

    def write(self, content: Mapping[str, Any], **execution: Any) -> None:
        """Writes `my.yaml`, which names the login node and this clone as the one there."""
        self.here.mkdir(exist_ok=True)
        own = {"type": "slurm", "hostname": HOST, "account": "tests", "min_free_gb": 0}
        folders = {"login_folder": str(self.there), "login_clone": str(ROOT)}
        config = {**content, "execution": {**own, **folders, **execution}}
        (self.here / "my.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def snakeval(self, *words: str, **variables: str) -> Finished:
        return self.run(sys.executable, "-m", "snakeval.cli.front.main", *words, **variables)

    def run(self, *command: str, **variables: str) -> Finished:
        environment = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
        own = {"PATH": str(self.server.bin), "HOME": str(self.here / "home")}
        ended = subprocess.run(
            command,
            cwd=self.here,
            env={**environment, **own, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Finished(ended.returncode, ended.stdout)
