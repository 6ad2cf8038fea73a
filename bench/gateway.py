"""What the gateway costs: asking an endpoint through it, beside asking it directly.

    latency      at a model's pace: answers of 1 to 4 kB after 0.25 to 0.75 s, other for each
    throughput   saturated: an endpoint that answers at once, asked as fast as can be
    benchmark    CPU seconds of all processes for one benchmark of lm-eval, in turns
    many         10,000 requests in flight
    bodies       questions and answers of 50 MB
    cut          streams that the endpoint cuts in the middle: cut for the client, kept as none
    slow         clients that read a long stream slowly: its memory
    million      a million lines of ledger: size, memory of a gateway that starts over them, time

    python -m bench.gateway [PART ...] [--requests 2000] [--lines 1000000]

Latencies and rates are the machine's, with whatever else it does: both ways are asked in turns.
CPU seconds are not. For both the gateway has a processor of its own, where there are two: client
and endpoint are this bench's, and a request that waits for them is not late by the gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from tests.rig.image import BENCHMARK

from bench.side_by_side import PROFILE, ROOT, SNAKEMAKE
from snakeval.job.gateway.accounts import accounts, quantiles
from snakeval.job.gateway.ledger import LEDGER

TOKEN = "token-for-the-benchmark"
LATENCY = 0.05
PACE, SIZES = (0.25, 0.75), (1000, 4000)
"""Seconds that an answer takes, and its bytes: both spread evenly, the same for both ways."""
IN_FLIGHT, ROUNDS = (1, 64, 256), 8
"""Requests at once, and how often each of them is asked again in a turn."""
QUANTILES = ("median", "p99")
CORES = sorted(os.sched_getaffinity(0))
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
SAMPLES, BENCHMARKS = 200, 3
MANY, MANY_FOR = 10_000, 20.0
BULK = 50_000_000
STREAMS, READERS, EVENTS = 200, 20, 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--lines", type=int, default=1_000_000)
    given = parser.parse_args()
    if given.serve is not None:
        asyncio.run(serve(given.serve))
        return
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    allow_many_connections()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    for name in given.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="snakeval-bench-") as folder:
            PARTS[name](Path(folder), given)


# ---------------------------------------------------------------- what is measured


def latency(folder: Path, given: argparse.Namespace) -> None:
    """Milliseconds beyond the endpoint's own time, which it is told with each question."""
    print(f"\nLate by so many ms, answers after {PACE[0]:g} to {PACE[1]:g} s, of 1 to 4 kB")
    print(f"  {'in flight':>10}{'':12}{'median':>10}{'p99':>10}   (wanted: median +2, p99 +10)")
    with apart(), endpoint(0) as direct, gateway(folder / "latency", direct) as (through, _):
        for number in IN_FLIGHT:
            late = in_turns({"directly": direct, "gateway": through}, number)
            told = {name: quantiles(seconds) for name, seconds in late.items()}
            told["added"] = {key: told["gateway"][key] - told["directly"][key] for key in QUANTILES}
            for name, found in told.items():
                cells = "".join(f"{1000 * found[key]:>10.1f}" for key in QUANTILES)
                print(f"  {number:>10}  {name:10}{cells}")


def throughput(folder: Path, given: argparse.Namespace) -> None:
    """A closed loop: how late an answer is says only how many wait before it."""
    print("\nSaturated: an endpoint that answers at once")
    with apart(), endpoint(0) as direct, gateway(folder, direct) as (through, process):
        for number in IN_FLIGHT:
            rates = {}
            for name, url in {"directly": direct, "gateway": through}.items():
                began, before = time.monotonic(), cpu(process)
                asyncio.run(ask(url, given.requests, number, f"{name} {number}"))
                rates[name] = given.requests / (time.monotonic() - began)
                spent = (cpu(process) - before) / given.requests
            rate = ", ".join(f"{rate:.0f} requests/s {name}" for name, rate in rates.items())
            print(f"  {number:>4} in flight: {rate}; {spent * 1000:.2f} ms of CPU each")


def benchmark(folder: Path, given: argparse.Namespace) -> None:
    """Processor time of everything: Snakemake, harness, keeper, gateway; not the endpoint's."""
    print("\nOne benchmark of 200 samples, 50 ms each, 8 at once   (wanted: ratio at most 1.03)")
    spent: dict[bool, list[float]] = {False: [], True: []}
    with endpoint(LATENCY) as url:
        for turn in range(BENCHMARKS):
            for behind in (False, True):
                spent[behind].append(evaluate(folder / f"{turn}-{behind}", url, behind))
    without, within = min(spent[False]), min(spent[True])
    print(f"  CPU seconds, the least of {BENCHMARKS}: {without:.2f} without, {within:.2f} with")
    print(f"  ratio {within / without:.2f}, {1000 * (within - without) / SAMPLES:.1f} ms a sample")


def evaluate(folder: Path, url: str, behind: bool) -> float:
    """CPU seconds of a start of the pipeline, its children included."""
    folder.mkdir(parents=True)
    sums = {"endpoint_type": "chat", "samples": SAMPLES}
    own = {"kind": "lm_eval", "include_path": str(BENCHMARK), "tasks": {"snakeval_sums": sums}}
    params = {"limit_samples": SAMPLES, "parallelism": 8}
    config = {
        "gateway": behind,
        "execution": {"output_dir": "out", "min_free_gb": 0},
        "target": {"api_endpoint": {"url": url, "model_id": "test-model"}},
        "harnesses": {"rig": own},
        "evaluation": {
            "nemo_evaluator_config": {"config": {"params": params}},
            "tasks": [{"name": "rig.snakeval_sums"}],
        },
    }
    (folder / "my.yaml").write_text(json.dumps(config))
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [SNAKEMAKE, "-s", str(ROOT / "Snakefile"), "--profile", PROFILE]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [*command, "--configfile", "my.yaml"],
        cwd=folder,
        env={**os.environ, **offline},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def many(folder: Path, given: argparse.Namespace) -> None:
    """All of them are at the endpoint before the first is answered, where the machine is quick."""
    with endpoint(MANY_FOR) as direct, gateway(folder, direct) as (through, process):
        empty = memory(process)
        began, before = time.monotonic(), cpu(process)
        seconds = asyncio.run(ask(through, MANY, MANY, "many"))
        took, spent = time.monotonic() - began, cpu(process) - before
        full = memory(process)
    found = accounts(folder / "record")["model"]
    print(f"\n{MANY} requests at once, answered after {MANY_FOR:g} s")
    print(f"  {len(seconds)} answered, {found.answered} in the ledger, {found.unanswered} lost")
    print(f"  {took:.0f} s, {spent:.1f} s of CPU, {full - empty:.0f} MB more than {empty:.0f}")


def bodies(folder: Path, given: argparse.Namespace) -> None:
    with endpoint(0) as direct, gateway(folder, direct) as (through, process):
        empty, before = memory(process), cpu(process)
        digest = asyncio.run(ask_in_bulk(through))
        spent, full = cpu(process) - before, memory(process)
    print(f"\nOne question and one answer of {BULK / 1e6:.0f} MB")
    print(f"  unchanged: {'yes' if digest == hashlib.sha256(echo(BULK)).hexdigest() else 'NO'}")
    print(f"  {spent:.1f} s of CPU, {full - empty:.0f} MB more than {empty:.0f} afterwards")


async def ask_in_bulk(url: str) -> str:
    """The digest of what comes back."""
    body = {**question(""), "echo": BULK, "filler": "x" * BULK}
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.post(url, json=body) as reply,
    ):
        assert reply.status == 200, await reply.text()
        return hashlib.sha256(await reply.read()).hexdigest()


def cut(folder: Path, given: argparse.Namespace) -> None:
    with endpoint(0) as direct, gateway(folder, direct) as (through, _):
        ends = asyncio.run(ask_for_streams(through, STREAMS, {"cut": True}))
    lost = accounts(folder / "record")["model"]
    print(f"\n{STREAMS} streams, cut by the endpoint in the middle")
    print(f"  {ends.count('cut')} cut for the client, {lost.answered} kept, {lost.unanswered} lost")


def slow(folder: Path, given: argparse.Namespace) -> None:
    with endpoint(0) as direct, gateway(folder, direct) as (through, process):
        empty = memory(process)
        body = {"events": EVENTS}
        ends = asyncio.run(ask_for_streams(through, READERS, body, pause=0.002))
        full = memory(process)
    print(f"\n{READERS} readers of {EVENTS} events each, who pause after each piece")
    print(f"  {ends.count('whole')} had all of it; {full - empty:.0f} MB more than {empty:.0f}")


async def ask_for_streams(
    url: str, count: int, more: dict[str, Any], pause: float = 0
) -> list[str]:
    """How each of them ends: whole or cut."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:

        async def one(number: int) -> str:
            body = {**question(f"stream {number}"), "stream": True, **more}
            last = b""
            try:
                async with session.post(url, json=body) as reply:
                    async for piece in reply.content.iter_chunked(4096):
                        last = (last + piece)[-100:]
                        await asyncio.sleep(pause)
            except aiohttp.ClientError:
                return "cut"
            return "whole" if b"[DONE]" in last else "short"

        return await asyncio.gather(*map(one, range(count)))


def million(folder: Path, given: argparse.Namespace) -> None:
    """A ledger as of a long run, and a gateway that starts again over it."""
    lines = given.lines
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


def in_turns(urls: dict[str, str], in_flight: int) -> dict[str, list[float]]:
    """How late each answer is; in four turns, since what disturbs the machine disturbs all."""
    late: dict[str, list[float]] = {name: [] for name in urls}
    for turn in range(4):
        for name, url in urls.items():
            count = max(20, ROUNDS * in_flight)
            asked = ask(url, count, in_flight, f"{name}-{turn}-{in_flight}", PACE)
            late[name] += asyncio.run(asked)
    return late


async def ask(
    url: str, count: int, in_flight: int, name: str, pace: tuple[float, float] = (0, 0)
) -> list[float]:
    """How late each answer was: seconds, without those that the endpoint took for it."""
    left = iter(range(count))
    late: list[float] = []
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        connector=connector, headers=HEADERS, timeout=timeout
    ) as session:

        async def one_after_the_other(chance: random.Random) -> None:
            # As a model's answers come, and not all at once; what makes a connection is not told.
            await asyncio.sleep(chance.uniform(0, pace[1]))
            is_first = any(pace)
            for number in left:
                body, takes = question(f"{name} {number}"), chance.uniform(*pace)
                wanted = {"X-Takes": f"{takes:.4f}", "X-Bytes": str(chance.randint(*SIZES))}
                began = time.monotonic()
                async with session.post(
                    url, json=body, headers=wanted if any(pace) else None
                ) as reply:
                    assert reply.status == 200, await reply.text()
                    await reply.read()
                if not is_first:
                    late.append(time.monotonic() - began - takes)
                is_first = False

        await asyncio.gather(*(one_after_the_other(random.Random(n)) for n in range(in_flight)))
    return late


def question(text: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"{text} " + "word " * 200}]
    return {"model": "test-model", "messages": messages, "temperature": 0}


# ---------------------------------------------------------------- the two servers


async def serve(seconds: float) -> None:
    """The endpoint: a completion after so many seconds, or after `X-Takes`, of `X-Bytes`. A body
    may ask for a stream (of so many `events`, or `cut` in the middle), or for an answer of so many
    bytes (`echo`)."""
    body = echo(0)

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = await request.read()
        await asyncio.sleep(float(request.headers.get("X-Takes", seconds)))
        if size := request.headers.get("X-Bytes"):
            return web.Response(body=echo(int(size)), content_type="application/json")
        if b'"stream": true' in asked[:8192]:
            return await stream(request, json.loads(asked))
        if b'"echo": ' in asked[:8192]:
            return web.Response(body=echo(BULK), content_type="application/json")
        return web.Response(body=body, content_type="application/json")

    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def echo(size: int) -> bytes:
    """The endpoint's answer, at least so many bytes long."""
    text = "x" * size or "word " * 100
    choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 210, "completion_tokens": 100}
    return json.dumps({"model": "test-model", "choices": [choice], "usage": usage}).encode()


async def stream(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    choice = {"index": 0, "delta": {"content": "word " * 50}, "finish_reason": None}
    event = b"data: " + json.dumps({"model": "test-model", "choices": [choice]}).encode() + b"\n\n"
    for _ in range(asked.get("events", 100)):
        await response.write(event)
    if asked.get("cut"):
        assert request.transport
        request.transport.abort()
        return response
    await response.write(event.replace(b"null", b'"stop"') + b"data: [DONE]\n\n")
    return response


@contextmanager
def apart() -> Iterator[None]:
    """Client and endpoint on the first processor; the gateway is on the others in any case."""
    os.sched_setaffinity(0, CORES[:1])
    yield
    os.sched_setaffinity(0, CORES)


@contextmanager
def endpoint(seconds: float) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.gateway", "--serve", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1/chat/completions"
        finally:
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
        if len(CORES) > 1:
            os.sched_setaffinity(process.pid, CORES[1:])
        try:
            while not ports.exists():
                assert process.poll() is None
                time.sleep(0.01)
            yield f"http://127.0.0.1:{ports.read_text().split()[1]}/v1/chat/completions", process
        finally:
            process.kill()


def cpu(process: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU that a process has had."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: subprocess.Popen[bytes]) -> float:
    """MB that a process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


def allow_many_connections() -> None:
    """Of this process, and of those that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    part.__name__: part
    for part in (latency, throughput, benchmark, many, bodies, cut, slow, million)
}


if __name__ == "__main__":
    main()
