"""A real container registry on loopback (Debian's docker-registry), for tests that pull."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from rig.docker_engine import RigUnavailable
from rig.waiting import PATIENCE

CONFIG = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""
USER, PASSWORD = "somebody", "letmein"
USERS = f"{USER}:$2b$05$abcdefghijklmnopqrstuuKwWV7ESJpzKzf9FQg57dBvMuv92X9HS\n"
"""An htpasswd file, with that password in bcrypt."""

WITH_LOGIN = """\
auth: {{htpasswd: {{realm: rig, path: {folder}/users}}}}
"""


@contextlib.contextmanager
def registry(folder: Path, login: bool = False) -> Iterator[str]:
    """`127.0.0.1:<port>` of a registry that keeps its images below `folder`.

    login: it wants USER and PASSWORD (see `logged_in`).
    Docker takes loopback registries without TLS. Raises RigUnavailable.
    """
    if shutil.which("docker-registry") is None:
        raise RigUnavailable("docker-registry is missing: apt-get install docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yml"
    text = CONFIG.format(folder=folder / "images", port=port)
    if login:
        (folder / "users").write_text(USERS)
        text += WITH_LOGIN.format(folder=folder)
    config.write_text(text)
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        _wait_until_it_answers(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def logged_in(folder: Path, host: str) -> Path:
    """What `docker login` leaves: a folder for DOCKER_CONFIG with the credentials of a registry."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    content = {"auths": {host: {"auth": secret}}}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5).close()
            return
        except urllib.error.HTTPError:  # it wants a login
            return
        except OSError:
            pass
        time.sleep(0.1)
    raise RigUnavailable("docker-registry does not answer")
