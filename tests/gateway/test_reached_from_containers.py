"""How containers reach the gateway: by the bridge of their engine, else in the host's network, else
not at all. Real engines; what stands for a firewall, or for an engine elsewhere, is a bridge at an
address that means something else in a container, or at one that is not this machine's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from rig.docker_engine import DockerEngine
from rig.endpoint import ScriptedEndpoint
from rig.image import BASE_IMAGE, ensure_base_image
from rig.podman import Podman
from rig.waiting import PATIENCE
from snakeval.config.load import load
from snakeval.job.gateway.ledger import LEDGER, rows
from snakeval.job.keeper.bridge import own_address
from snakeval.job.record import behind_gateway, without_gateway
from snakeval.plan.make import make_run
from snakeval.render.lib import write_library
from snakeval.render.task import render
from snakeval.start.begin import spec_text

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
NOWHERE = "127.0.0.2"
"""An address of this machine, and of each container's own."""
ELSEWHERE = "203.0.113.1"
"""An address of no machine here (RFC 5737)."""

# The key is named in another way: a benchmark that names it keeps it.
ASKS = r"""readlink /proc/self/ns/net >/results/network
env >/results/environment
: >/results/answer
bash -c '
key=$(sed -n "s/^MY.KEY=//p" /results/environment)
url=${SNAKEVAL_ENDPOINT_URL#http://} place=${SNAKEVAL_ENDPOINT_URL#http://}; place=${place%%/*}
body="{\"model\": \"test-model\", \"messages\": [{\"role\": \"user\", \"content\": \"1 + 1\"}]}"
exec 3<>"/dev/tcp/${place%:*}/${place#*:}"
printf "POST /%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" "${url#*/}" "$key" >&3
printf "Content-Type: application/json\r\nConnection: close\r\n" >&3
printf "Content-Length: %s\r\n\r\n%s" "${#body}" "$body" >&3
cat <&3 >/results/answer'
exit 1
"""
KEY = "sk-the-real-key"


class Attempt(NamedTuple):
    said: str
    network: str
    answer: str
    environment: str
    asked: list[str]
    """The ledger's outcomes."""
    record: Path


def attempt(
    folder: Path, url: str, runtime: str = "docker", image: str = BASE_IMAGE, **more: Any
) -> Attempt:
    """Of a benchmark that asks one question from its container, and fails."""
    command = ASKS.replace("${", r"\${")
    content = {
        "gateway": True,
        "execution": {"output_dir": str(folder / "out"), "hf_home": False},
        "target": {
            "api_endpoint": {"url": url, "model_id": "test-model", "api_key_name": "MY_KEY"}
        },
        "evaluation": {"tasks": [{"name": "mine.quiz", "container": image, "pre_cmd": command}]},
        **more,
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    task = make_run(load([folder / "my.yaml"], {}), CATALOGUE).tasks[0]
    task.paths.dir.mkdir(parents=True, exist_ok=True)
    write_library(task.paths.dir.parent / "lib")
    task.paths.spec.write_text(spec_text(task))
    task.paths.script.write_text(render(task, runtime, image), encoding="utf-8")
    ended = subprocess.run(
        ["bash", task.paths.script],
        env={**os.environ, "MY_KEY": KEY, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    work, record = task.paths.work(task.digest), task.paths.record(task.digest)
    said = ended.stdout + ended.stderr
    assert (work / "environment").exists(), said
    texts = [(work / name).read_text().strip() for name in ("network", "answer", "environment")]
    return Attempt(said, *texts, [str(row["outcome"]) for row in rows(record / LEDGER)], record)


def another_bridge(folder: Path, network: str = "host", address: str = NOWHERE) -> None:
    """A `docker` whose bridge is said to be at another address; and what "the host's network" is
    for its containers."""
    docker, file = shutil.which("docker"), folder / "bin" / "docker"
    file.parent.mkdir()
    said = json.dumps([{"IPAM": {"Config": [{"Gateway": address}]}}])
    file.write_text(
        "#!/bin/bash\n"
        f"if [ \"$1 $2\" = 'network inspect' ]; then echo '{said}'; exit; fi\n"
        f'for word; do words+=("${{word/%host/{network}}}"); done\n'
        f'exec {docker} "${{words[@]}}"\n'
    )
    file.chmod(0o755)


@pytest.fixture
def engine(docker_engine: DockerEngine) -> DockerEngine:
    ensure_base_image(docker_engine)
    return docker_engine


def here() -> str:
    return str(Path("/proc/self/ns/net").readlink())


@pytest.mark.docker
def test_a_container_stays_in_its_engines_network_and_asks_through_the_gateway(
    tmp_path: Path, endpoint: ScriptedEndpoint, engine: DockerEngine
) -> None:
    """Although the endpoint is at this machine's loopback address."""
    endpoint.required_key = KEY
    found = attempt(tmp_path, endpoint.chat_url)
    assert found.network != here() and "200 OK" in found.answer
    assert found.asked == ["answered"] and endpoint.answers.total() == 1
    assert KEY not in found.environment and "no gateway" not in found.said


@pytest.mark.docker
@pytest.mark.podman
def test_a_container_of_podman_asks_by_its_bridge_too(
    tmp_path: Path, endpoint: ScriptedEndpoint, engine: DockerEngine, podman: Podman
) -> None:
    """Which podman makes with its first container: the gateway listens there before."""
    image = podman.ensure_image(engine, BASE_IMAGE)
    found = attempt(tmp_path, endpoint.chat_url, "podman", image)
    assert found.network != here() and "200 OK" in found.answer
    assert found.asked == ["answered"]


@pytest.mark.docker
def test_a_container_that_does_not_reach_the_gateway_is_in_the_hosts_network(
    tmp_path: Path, endpoint: ScriptedEndpoint, engine: DockerEngine
) -> None:
    another_bridge(tmp_path)
    found = attempt(tmp_path, endpoint.chat_url)
    assert found.network == here() and "200 OK" in found.answer
    assert found.asked == ["answered"] and endpoint.answers.total() == 1
    assert f"does not reach {NOWHERE} (is there a firewall?" in found.said
    assert "again, in the host's network" in found.said and "no gateway" not in found.said
    assert NOWHERE not in found.said.partition("failed:")[2]


@pytest.mark.docker
def test_a_container_that_reaches_it_in_no_way_goes_without_and_has_its_key(
    tmp_path: Path, endpoint: ScriptedEndpoint, engine: DockerEngine
) -> None:
    """As with an engine in a virtual machine, or on another one."""
    another_bridge(tmp_path, network="bridge")
    found = attempt(tmp_path, endpoint.chat_url)
    assert "no gateway: the container does not reach this machine at 127.0.0.1" in found.said
    assert f"MY_KEY={KEY}" in found.environment
    assert f"SNAKEVAL_ENDPOINT_URL={endpoint.chat_url}" in found.environment
    assert found.asked == [] and behind_gateway(found.record) == set()
    (why,) = without_gateway(found.record)
    assert why == "the container does not reach this machine at 127.0.0.1"


@pytest.mark.docker
def test_a_container_of_an_engine_elsewhere_asks_by_this_machines_own_address(
    tmp_path: Path, endpoint: ScriptedEndpoint, engine: DockerEngine
) -> None:
    """Its bridge is not here: it is in a network of its own (rootless), or on another machine."""
    another_bridge(tmp_path, address=ELSEWHERE)
    found = attempt(tmp_path, endpoint.chat_url)
    assert found.network != here() and "200 OK" in found.answer
    assert found.asked == ["answered"]
    url = re.search("^SNAKEVAL_ENDPOINT_URL=http://([^:]+):", found.environment, re.MULTILINE)
    assert url and url[1] == own_address() and not url[1].startswith("127.")
    assert "no gateway" not in found.said and not without_gateway(found.record)
