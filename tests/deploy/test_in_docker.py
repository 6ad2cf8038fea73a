"""The same in containers: a real llama.cpp server, and the real NeMo image that asks it."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from deployed import Deployed
from supervised import Supervised

from rig.docker_engine import DockerEngine, RigUnavailable
from rig.image import BASE_IMAGE, ensure_base_image
from rig.model_server import llama_image
from rig.other_user import other_user
from rig.pipeline import nemo_sums
from rig.promised import within
from rig.unavailable import unavailable
from rig.waiting import PATIENCE, wait_until
from snakeval.job.endpoint import free_port
from snakeval.run_folder.layout import RunPaths


def containers(run: str) -> list[str]:
    """Names of a run's containers, by their label."""
    command = ["docker", "ps", "-a", "--filter", f"label=snakeval.run={run}"]
    shown = subprocess.run(
        [*command, "--format", "{{.Names}}"], capture_output=True, text=True, check=True
    )
    return shown.stdout.split()


def test_a_server_in_a_container_lives_and_ends_with_its_supervisor(
    server_image: str, tmp_path: Path
) -> None:
    # given a server that somebody has started by hand
    server = Supervised(RunPaths(tmp_path / "2026-01-01-00-00-00-0123abce"), {"SNAKEVAL_START": ""})
    server.run.dir.mkdir()
    server.write(llama_image(), runtime="docker")
    with server.started() as process:
        # then it answers, at this machine's loopback address only
        wait_until(lambda: server.address)
        assert server.address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(server.address + "/v1/models", timeout=PATIENCE) as answer:
            assert json.load(answer)["data"][0]["id"] == "test-model"
        (name,) = containers(server.run.id)
        # when its container is killed
        before = server.address
        subprocess.run(["docker", "kill", name], check=True, capture_output=True)
        # then another one comes up
        wait_until(lambda: server.address not in ("", before))
        assert server.record["lives"][-1]["restarts"] == 1
        # and when the supervisor is killed, the container ends too
        os.kill(process.pid, signal.SIGKILL)
        within(10, lambda: not containers(server.run.id), told=lambda: containers(server.run.id))


def test_a_server_on_the_hosts_network_is_found_at_its_own_port(
    server_image: str, tmp_path: Path
) -> None:
    # given a server that the user's words put on the host's network, where none is published
    server = Supervised(RunPaths(tmp_path / "2026-01-01-00-00-00-0123abcf"), {"SNAKEVAL_START": ""})
    server.run.dir.mkdir()
    port = free_port("127.0.0.1")
    deployment = {**llama_image(), "port": port}
    server.write(deployment, runtime="docker", extra_docker_args="--network host")
    with server.started():
        wait_until(lambda: server.address)
        assert server.address == f"http://127.0.0.1:{port}"


def test_a_nemo_image_asks_a_server_in_a_container(
    nemo_image: str, server_image: str, docker_engine: DockerEngine, project: Deployed
) -> None:
    project.configure(llama_image(), [nemo_sums()])
    project.snakemake().check()
    row = project.rows()[0]
    assert (row["state"], row["scored"]) == ("published", 3)
    # its image is pinned by what the engine says it is, and nothing is left
    images = json.loads((project.run_folder / "run.json").read_text())["images"]
    assert images[server_image].startswith("sha256:")
    assert project.record["lives"][0]["image"] == images[server_image]
    assert not containers(project.run_folder.name)


@pytest.mark.parametrize("kind", ["the hub's cache", "cache_path"])
def test_what_a_server_adds_to_a_cache_belongs_to_the_caller(
    docker_engine: DockerEngine, kind: str
) -> None:
    # given an ordinary user, whose server runs as root in its container, and a shared cache
    try:
        ensure_base_image(docker_engine)
        with other_user() as user:
            cache = user.home / "cache"
            cache.mkdir()
            (cache / "of-root").touch()
            run = RunPaths(user.home / "2026-01-01-00-00-00-0123abcf")
            run.dir.mkdir()
            server = Supervised(run, {})
            download = 'mkdir "$HF_HOME/hub"; touch -d 2001-01-01 "$HF_HOME/hub/weights"; exit 3'
            more = {"hf_model_handle": "o/m"} if kind == "the hub's cache" else {}
            more |= {"cache_path": str(cache)} if kind == "cache_path" else {}
            server.write(
                {
                    "type": "generic",
                    "image": BASE_IMAGE,
                    "command": download,
                    "served_model_name": "m",
                    **more,
                },
                runtime="docker",
            )
            for path in (cache, *run.dir.rglob("*"), run.dir):
                os.chown(path, user.uid, user.uid)
            # when it has loaded something into it and ended
            socket = Path(docker_engine.host.removeprefix("unix://"))
            sees = [Path(sys.executable).resolve().parents[1], Path(sys.prefix), socket]
            command = user.command(
                "bash", str(server.paths.script), sees=sees, groups=[socket.stat().st_gid]
            )
            variables = {**os.environ, "HOME": str(user.home), "HF_HOME": str(cache)}
            ended = subprocess.run(command, env=variables, capture_output=True, text=True)
            # then that belongs to the user, and what was there before to whom it did
            assert "exit code 3" in server.record["cause"], (ended.stdout, ended.stderr)
            owners = {path.name: path.lstat().st_uid for path in cache.rglob("*")}
            assert owners == {"of-root": 0, "hub": user.uid, "weights": user.uid}
            assert not (server.paths.dir / "cache-since").exists()
    except RigUnavailable as reason:
        unavailable(reason)
