"""A real sshd on the loopback address, and the `ssh` of a user who may enter it.

Debian's `sshd`, started by hand with a port, a host key and a list of users' keys of its own. The
user is whoever runs the tests; nothing of their ~/.ssh is read or changed.
"""

import contextlib
import getpass
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .docker_engine import RigUnavailable
from .waiting import wait_until

SSHD = "/usr/sbin/sshd"
NEEDED = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "rsync": "rsync"}
HOST = "login"
"""The name of the server in the user's ssh config."""


class SshServer:
    """A context manager from start to end.

    variables  of every session there, in place of the machine's own
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "SshServer":
        if os.geteuid() != 0 or not Path(SSHD).exists():
            raise RigUnavailable("sshd (Debian: openssh-server) is missing, or root to start it")
        for program, package in NEEDED.items():
            if shutil.which(program) is None:
                raise RigUnavailable(f"{program} is missing (Debian: apt-get install {package})")
        self.folder.mkdir(parents=True)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd keeps its rights apart
        for key in ("host", "user", "stranger"):
            self._make_key(key)
        shutil.copy(self.folder / "user.pub", self.folder / "authorized_keys")
        self.port = _free_port()
        (self.folder / "sshd_config").write_text(self._settings())
        self._write_client()
        with (self.folder / "sshd.log").open("wb") as log:
            command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers, told=lambda: (self.folder / "sshd.log").read_text())
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

    def _make_key(self, name: str) -> None:
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
        subprocess.run(words, check=True)

    def _settings(self) -> str:
        variables = " ".join(f'"{name}={value}"' for name, value in self._variables.items())
        return f"""\
ListenAddress 127.0.0.1
Port {self.port}
HostKey {self.folder}/host
AuthorizedKeysFile {self.folder}/authorized_keys
PidFile {self.folder}/sshd.pid
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
{f"SetEnv {variables}" if variables else ""}
"""

    # --- the user's side -------------------------------------------------------------------------

    def _write_client(self) -> None:
        """`ssh` with this config and no other: OpenSSH finds ~/.ssh by the list of users, whatever
        HOME says."""
        self.knows()
        (self.folder / "ssh_config").write_text(
            f"Host {HOST}\n"
            f"    HostName 127.0.0.1\n    Port {self.port}\n    User {getpass.getuser()}\n"
            f"    IdentityFile {self.folder}/client\n    IdentitiesOnly yes\n"
            f"    IdentityAgent none\n    UserKnownHostsFile {self.folder}/known_hosts\n"
            f"    GlobalKnownHostsFile /dev/null\n"
        )
        self.has_key("user")
        folder = self.bin
        folder.mkdir()
        ssh = folder / "ssh"
        real = shutil.which("ssh")
        ssh.write_text(f'#!/bin/sh\nexec {real} -F "{self.folder}/ssh_config" "$@"\n')
        ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
        for program in ("rsync", "git", "which", "bash", "sh", "tee"):
            if found := shutil.which(program):
                (folder / program).symlink_to(found)

    @property
    def bin(self) -> Path:
        """A laptop's PATH: ssh, rsync, git, a shell, and no Slurm."""
        return self.folder / "bin"

    def has_key(self, name: str) -> None:
        """Whose key the user has: `user`, whom the server knows, or `stranger`."""
        client = self.folder / "client"
        client.unlink(missing_ok=True)
        shutil.copy(self.folder / name, client)
        client.chmod(0o600)

    def knows(self, key: str | None = "host") -> None:
        """The key under which the user knows the server; None: it was never met."""
        line = ""
        if key:
            line = f"[127.0.0.1]:{self.port} {(self.folder / f'{key}.pub').read_text()}"
        (self.folder / "known_hosts").write_text(line)

    def _answers(self) -> bool:
        if self._process and self._process.poll() is not None:
            raise RigUnavailable((self.folder / "sshd.log").read_text())
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
