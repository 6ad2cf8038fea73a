"""What the gateway costs: asking an endpoint through it, beside asking it directly.

The endpoint answers after 50 ms, as a real one takes its time. Then as fast as it can, for the
highest throughput. At last a million lines of ledger: their size, the memory that the gateway
holds for them when it starts again, and the time to read them.

    python -m bench.gateway [--requests 2000] [--lines 1000000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from snakeval.job.gateway.accounts import accounts, quantiles
from snakeval.job.gateway.ledger import LEDGER

TOKEN = "token-for-the-benchmark"
LATENCY = 0.05
IN_FLIGHT = (1, 64, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--lines", type=int, default=1_000_000)
    given = parser.parse_args()
    if given.serve is not None:
        asyncio.run(serve(given.serve))
        return
    with tempfile.TemporaryDirectory(prefix="snakeval-bench-") as folder:
        latency(Path(folder), given.requests)
        throughput(Path(folder), given.requests)
        million(Path(folder), given.lines)


# ---------------------------------------------------------------- what is measured


def latency(folder: Path, requests: int) -> None:
    print(f"\nLatency in ms, endpoint {LATENCY * 1000:g} ms   (wanted: median +2, p99 +10)")
    print(f"  {'in flight':>10}{'':12}{'median':>10}{'p99':>10}{'added':>10}{'added p99':>10}")
    with endpoint(LATENCY) as direct, gateway(folder / "latency", direct) as (through, _):
        for number in IN_FLIGHT:
            count = min(requests, 100 * number)
            asked = in_turns({"directly": direct, "gateway": through}, count, number)
            for name, seconds in asked.items():
                told = {key: value * 1000 for key, value in quantiles(seconds).items()}
                base = {key: value * 1000 for key, value in quantiles(asked["directly"]).items()}
                cells = [told["median"], told["p99"]]
                cells += [told[key] - base[key] for key in ("median", "p99")]
                print(f"  {number:>10}  {name:10}" + "".join(f"{each:>10.1f}" for each in cells))


def throughput(folder: Path, requests: int) -> None:
    print("\nThroughput, 64 in flight, an endpoint that answers at once")
    rates = {}
    with endpoint(0) as direct, gateway(folder / "throughput", direct) as (through, process):
        before = cpu(process)
        for name, url in {"directly": direct, "gateway": through}.items():
            began = time.monotonic()
            asyncio.run(ask(url, requests, 64, name))
            rates[name] = requests / (time.monotonic() - began)
        spent = (cpu(process) - before) / requests
    for name, rate in rates.items():
        print(f"  {name:12}{rate:>8.0f} requests/s   ratio {rates['directly'] / rate:.2f}")
    print(f"  CPU of the gateway: {spent * 1000:.2f} ms a request")


def million(folder: Path, lines: int) -> None:
    """A ledger as of a long run, and a gateway that starts again over it."""
    record = folder / "million" / "record"
    record.mkdir(parents=True)
    with endpoint(0) as direct:
        with gateway(folder / "million", direct) as (through, process):
            empty = memory(process)
            asyncio.run(ask(through, 1000, 64, "million"))
        multiply(record / LEDGER, lines)
        with gateway(folder / "million", direct) as (_, process):
            full = memory(process)
    size = (record / LEDGER).stat().st_size
    began = time.process_time()
    found = accounts(record)["model"]
    seconds = time.process_time() - began
    print(f"\n{lines} requests in the ledger   (wanted: well under 1 GB)")
    print(f"  size {size / 1e6:.0f} MB, {size / lines:.0f} bytes each; {found.answered} answered")
    print(
        f"  memory of a gateway that starts over them: {full - empty:.0f} MB more than {empty:.0f}"
    )
    print(f"  accounts read in {seconds:.1f} s of CPU")


def multiply(ledger: Path, lines: int) -> None:
    """More lines of the same kind, each of another request."""
    kept = [json.loads(line) for line in ledger.read_text().splitlines()]
    with ledger.open("w") as file:
        for number in range(lines):
            row = {**kept[number % len(kept)], "key": f"{number:032x}"}
            file.write(json.dumps(row, separators=(",", ":")) + "\n")


# ---------------------------------------------------------------- asking


def in_turns(urls: dict[str, str], count: int, in_flight: int) -> dict[str, list[float]]:
    """Seconds of each request; in four turns, since what disturbs the machine disturbs all."""
    seen: dict[str, list[float]] = {name: [] for name in urls}
    for turn in range(4):
        for name, url in urls.items():
            seen[name] += asyncio.run(ask(url, count // 4, in_flight, f"{name}-{turn}-{in_flight}"))
    return seen


async def ask(url: str, count: int, in_flight: int, name: str) -> list[float]:
    left = iter(range(count))
    seconds: list[float] = []
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def one_after_the_other() -> None:
            for number in left:
                began = time.monotonic()
                async with session.post(url, json=question(f"{name} {number}")) as reply:
                    assert reply.status == 200, await reply.text()
                    await reply.read()
                seconds.append(time.monotonic() - began)

        await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    return seconds


def question(text: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"{text} " + "word " * 200}]
    return {"model": "test-model", "messages": messages, "temperature": 0}


# ---------------------------------------------------------------- the two servers


async def serve(seconds: float) -> None:
    """The endpoint: a plain completion after so many seconds."""
    choice = {"index": 0, "message": {"content": "word " * 100}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 210, "completion_tokens": 100}
    body = json.dumps({"model": "test-model", "choices": [choice], "usage": usage}).encode()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(seconds)
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


@contextmanager
def endpoint(seconds: float) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.gateway", "--serve", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1/chat/completions"
        process.kill()


@contextmanager
def gateway(folder: Path, upstream: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    folder.mkdir(parents=True, exist_ok=True)
    ports = folder / "ports"
    ports.unlink(missing_ok=True)
    command = [sys.executable, "-m", "snakeval.job.gateway", "serve", "--attempt", "1"]
    command += ["--record", str(folder / "record"), "--port-file", str(ports)]
    command += ["--endpoint", "model", "UPSTREAM", "--token-env", "TOKEN"]
    command += ["--pace-folder", str(folder)]
    environment = {**os.environ, "UPSTREAM": upstream, "TOKEN": TOKEN}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:
        while not ports.exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield f"http://127.0.0.1:{ports.read_text().split()[1]}/v1/chat/completions", process
        process.kill()


def cpu(process: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU that a process has had."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: subprocess.Popen[bytes]) -> float:
    """MB that a process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


if __name__ == "__main__":
    main()
