"""How a container in an engine's own network reaches this machine: at the address that the engine's
bridge has here. Whether it does (a firewall may be in between) is looked at in the container."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .commands import said_by

NETWORKS = {"docker": "bridge", "podman": "podman"}
"""The one that an engine puts a container into, unless it is told otherwise."""
IPV4 = re.compile(r"\d+(\.\d+){3}")
UNREACHED = 74
"""The exit code of a container that has not begun, since it does not reach the gateway."""
LOOK = """reaches() {
    if command -v bash && command -v timeout; then
        timeout 3 bash -c ": >/dev/tcp/$1/$2"
    elif command -v python3; then
        python3 -c "import socket; socket.create_connection(('$1', $2), 3)"
    elif command -v curl; then
        curl -s -m 3 --noproxy '*' "http://$1:$2/"
    else
        [ "$1" = 127.0.0.1 ]
    fi
} >/dev/null 2>&1
"""
"""In the container. An image without any of these is believed on the host's own network only."""


def look_at(host: str, port: int) -> str:
    """Text for the shell of a container: ends it where it does not reach an address, and says so
    as `unreached` knows it."""
    told = f"{_told(host, port)} (exit code {UNREACHED})"
    return f'{LOOK}reaches {host} {port} || {{ echo "{told}"; exit {UNREACHED}; }}\n'


def unreached(log: Path, host: str, port: int) -> bool:
    """Whether a container has ended for that; it says so before anything else does."""
    wanted = _told(host, port)
    with log.open(encoding="utf-8", errors="replace") as lines:
        return any(line.startswith(wanted) for _, line in zip(range(20), lines))  # noqa: B905


def _told(host: str, port: int) -> str:
    return f"snakeval: this container does not reach {host}:{port}"


def address_of(engine: str) -> str:
    """The bridge's address on this machine; empty: it has none here. Such an engine's containers
    are in a virtual machine (Docker Desktop), on another machine, or without root's bridge."""
    if engine == "podman" and os.getuid() != 0:
        return ""
    try:
        said = json.loads(said_by(engine, "network", "inspect", NETWORKS[engine]))
    except ValueError:
        return ""
    address = next(_gateways(said), "")
    # podman makes its bridge with the first container.
    return address if engine == "podman" or _is_here(address) else ""


def _gateways(said: Any) -> Iterator[str]:
    """Docker, netavark and CNI each have it at another place, under one name."""
    if isinstance(said, dict):
        for key, value in said.items():
            if key.lower() == "gateway" and IPV4.fullmatch(str(value)):
                yield value
            yield from _gateways(value)
    elif isinstance(said, list):
        for each in said:
            yield from _gateways(each)


def _is_here(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return bool(address)
