"""How a container in an engine's own network reaches this machine: at the address that the engine's
bridge has here; where that is elsewhere, at this machine's own. Whether it does (a firewall may be
in between) is looked at in the container."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..endpoint import ipv4_of, own_address_towards
from .commands import said_by

NETWORKS = {"docker": "bridge", "podman": "podman"}
"""The one that an engine puts a container into, unless it is told otherwise."""
ANYWHERE = "192.0.2.1"
"""An address beyond this machine and its networks (RFC 5737); nothing is sent there."""
IPV4 = re.compile(r"\d+(\.\d+){3}")
UNREACHED = 74
"""The exit code of a container that has not begun, since it does not reach the gateway."""
SECONDS = 3
"""That a container has to reach the gateway, on a machine where others do not keep it from it."""
LOOK = """reaches() {
    if command -v bash && command -v timeout; then
        timeout "$3" bash -c ": >/dev/tcp/$1/$2"
    elif command -v python3; then
        python3 -c "import socket; socket.create_connection(('$1', $2), $3)"
    elif command -v curl; then
        curl -s -m "$3" --noproxy '*' "http://$1:$2/"
    else
        [ "$1" = 127.0.0.1 ]
    fi
} >/dev/null 2>&1
reaches_in_the_end() (
    began=$(date +%s)
    reaches "$1" "$2" "$3" && exit
    [ $(($(date +%s) - began)) -lt "$3" ] && exit 1
    began=$(date +%s)
    reaches 127.0.0.1 1 60
    reaches "$1" "$2" $(($3 + 10 * ($(date +%s) - began)))
)
"""
"""In the container. An image without any of these is believed on the host's own network only.

Who is refused is told so at once. No answer in time may be a firewall's, or that of a machine so
busy that the look itself takes as long: how long it takes for a port at which nobody listens is in
the time of the second try.
"""


def look_at(host: str, port: int, seconds: int = SECONDS) -> str:
    """Text for the shell of a container: ends it where it does not reach an address, and says so
    as `unreached` knows it."""
    told = f"{_told(host, port)} (exit code {UNREACHED})"
    look = f"reaches_in_the_end {host} {port} {seconds}"
    return f'{LOOK}{look} || {{ echo "{told}"; exit {UNREACHED}; }}\n'


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
    address = next(_gateways(said), "") or next(_first_addresses(said), "")
    # podman makes its bridge with the first container.
    return address if engine == "podman" or _is_here(address) else ""


def is_desktop() -> bool:
    """Whether Docker's engine is Docker Desktop's, which knows this machine by a name."""
    return "docker desktop" in said_by("docker", "info", "--format={{.OperatingSystem}}").lower()


def own_address() -> str:
    """This machine's address for those that are not on it: as Docker's engine, where that is on
    another one, or all others see it. Empty: none is known."""
    elsewhere = urllib.parse.urlsplit(os.environ.get("DOCKER_HOST", "")).hostname
    for address in filter(None, (elsewhere, ANYWHERE)):
        with contextlib.suppress(OSError):
            found = own_address_towards(address)
            return "" if found.startswith("127.") else found
    return ipv4_of(socket.gethostname())


def _gateways(said: Any) -> Iterator[str]:
    return (value for value in _named("gateway", said) if IPV4.fullmatch(value))


def _first_addresses(said: Any) -> Iterator[str]:
    """What an engine takes for its bridge, and does not always say: Docker 20.10 does not before
    it is started for the second time."""
    for value in _named("subnet", said):
        first, _, rest = value.partition("/")[0].rpartition(".")
        if IPV4.fullmatch(f"{first}.{rest}") and int(rest) < 255:
            yield f"{first}.{int(rest) + 1}"


def _named(name: str, said: Any) -> Iterator[str]:
    """Docker, netavark and CNI each have it at another place, under one name."""
    if isinstance(said, dict):
        for key, value in said.items():
            if key.lower() == name:
                yield str(value)
            yield from _named(name, value)
    elif isinstance(said, list):
        for each in said:
            yield from _named(name, each)


def _is_here(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return bool(address)
