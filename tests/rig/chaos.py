"""Chaos: what a run consists of is killed, paused, refused and filled up at random moments.

A test makes a `Chaos` of a project whose endpoint is `Rationed`, says by `strikes` what can be
struck at the moment, and calls `reign`. What must hold at the end is `check`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from rig import reliability
from rig.endpoint import Fault, ScriptedEndpoint, answer_sums
from rig.pipeline import ROOT, Project
from rig.small_disk import fill
from rig.waiting import PATIENCE, wait_until

SEED = 20261128
FEW, MANY = 6, 50
"""Strikes in every run, always the same; and in the long form, with a seed of their own."""

ASK = ROOT / "config" / "examples" / "own_benchmark" / "ask"
THREADS = 2
BENCHMARKS = {
    "kept": "{results}/answers.jsonl",
    "blind": "$(mktemp)",
}
"""Where the harness keeps its answers: in its work folder, or where the next attempt finds none."""

IN_FLIGHT = THREADS * len(BENCHMARKS)
PER_STRIKE = 2
"""Answers that are given between two strikes: whoever is struck is in the middle."""

FAULTS = [
    *(Fault("status", status=status) for status in (429, 500, 503)),
    *(Fault(kind) for kind in ("hang", "drop", "truncate", "empty")),
]
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]

Strikes = Mapping[str, Callable[[], Any]]


class Rationed(ScriptedEndpoint):
    """Gives no more answers than its ration; then whoever asks waits.

    spoilt  requests that a fault of the endpoint's own has hit
    """

    ration: float = 0
    spoilt = 0

    @property
    def held(self) -> bool:
        return self.answers.total() >= self.ration

    @held.setter
    def held(self, _: bool) -> None:
        """The ration alone decides."""

    def begin(self, prompts: list[str], body: dict[str, Any]) -> Fault | None:
        fault = super().begin(prompts, body)
        self.spoilt += fault is not None
        return fault


@dataclass
class Chaos:
    """A project under chaos.

    place    what it runs on, for the figures
    count    strikes
    struck   their names, in their order
    """

    project: Project
    endpoint: Rationed
    place: str
    count: int
    strikes: Callable[[Chaos], Strikes]
    between: Callable[[Chaos], None] = lambda _: None
    words: tuple[str, ...] = ()
    struck: list[str] = field(default_factory=list, init=False)
    _later: list[threading.Timer] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        asked = os.environ.get("SNAKEVAL_SEED")
        many = self.count > FEW
        self.seed = int(asked or random.randrange(1_000_000)) if many else SEED
        self.chance = random.Random(self.seed)
        self.endpoint.latency = 0.05
        self.endpoint.ration = PER_STRIKE
        print(f"seed {self.seed}")

    # --- the run ---------------------------------------------------------------------------------

    @property
    def questions(self) -> int:
        """Of each benchmark: more than all rations together."""
        return self.count * PER_STRIKE + 20

    def reign(self) -> None:
        """Strikes while Snakemake runs, and starts it again where it has ended; then one start
        more, without a strike."""
        while len(self.struck) < self.count:
            asked = self.endpoint.requests.total()
            with self.project.started("--retries", "2", *self.words) as snakemake:
                while len(self.struck) < self.count and snakemake.poll() is None:
                    self._wait_until_it_is_at_it(snakemake, asked)
                    self._strike()
                    asked = self.endpoint.requests.total()
                if len(self.struck) == self.count:
                    self.calm()
                    snakemake.wait(PATIENCE)
            self.between(self)
        self.project.snakemake("--retries", "3", *self.words).check()

    def _wait_until_it_is_at_it(self, snakemake: subprocess.Popen[bytes], asked: int) -> None:
        """Most strikes come when it has asked something since the last one."""
        wait_until(
            lambda: self.endpoint.requests.total() > asked or snakemake.poll() is not None,
            told=lambda: f"seed {self.seed}, after {self.struck}: {self.project.log[-4000:]}",
        )
        time.sleep(self.chance.uniform(0, 1))

    def _strike(self) -> None:
        for _ in range(self.chance.randint(1, 2)):
            possible = self.strikes(self)
            names = sorted(possible)
            if not names or len(self.struck) == self.count:
                return
            least = min(self.struck.count(name) for name in names)
            name = self.chance.choice([each for each in names if self.struck.count(each) == least])
            with contextlib.suppress(psutil.NoSuchProcess):
                possible[name]()
            self.struck.append(name)
            self.endpoint.ration += PER_STRIKE

    def later(self, seconds: float, what: Callable[[], Any]) -> None:
        timer = threading.Timer(seconds, what)
        timer.start()
        self._later.append(timer)

    def calm(self) -> None:
        """All that was paused, away or full is as it was."""
        for timer in self._later:
            timer.join()
        self.endpoint.ration = float("inf")

    # --- what must hold --------------------------------------------------------------------------

    def check(self) -> None:
        """Published with the score of an undisturbed run; what was lost is at most what was in
        flight; nothing is left."""
        scores = {row["task"]: round(row["value"], 4) for row in self.project.rows()}
        expected = dict.fromkeys(BENCHMARKS, expected_score(self.questions))
        assert scores == expected, f"seed {self.seed}, after {self.struck}"
        needed = self.questions * len(BENCHMARKS)
        assert len(self.endpoint.requests) == needed
        twice = self.endpoint.answers.total() - needed
        again = self.endpoint.requests.total() - self.endpoint.spoilt - needed
        assert twice <= again <= IN_FLIGHT * len(self.struck), f"seed {self.seed}: {self.struck}"
        wait_until(
            lambda: not self.project.leftovers(),
            told=lambda: f"seed {self.seed}, after {self.struck}: {self.project.leftovers()}",
        )
        if self.count > FEW:
            told = (
                f"seed {self.seed}; {counted(self.struck)}; {needed} answers needed,"
                f" {again} requests beyond that, {twice} of them answered; nothing was left"
            )
            reliability.note(f"chaos, {self.count} strikes: {self.place}", told)


def write(chaos: Chaos, image: str | None = None, **sections: Any) -> None:
    """The two benchmarks, behind the gateway; `sections` are laid over the config."""
    files = chaos.project.folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    (files / "ask.py").write_text((ASK / "ask.py").read_text())
    for name in BENCHMARKS:
        lines = [json.dumps(item) for item in questions(name, chaos.questions)]
        (files / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    harnesses = {
        name: {
            "kind": "command",
            "command": "python3 {files}/ask.py --questions {files}/{task}.jsonl --url {url}"
            " --model {model_id} --out {results}/results.json"
            f" --threads {THREADS} --answers {kept}",
            "files": str(files),
            "image": image,
            "tasks": {name: {"samples": chaos.questions}},
        }
        for name, kept in BENCHMARKS.items()
    }
    execution = {"output_dir": "out", "min_free_gb": 0, "gateway": True}
    chaos.project.write(
        [{"name": f"{name}.{name}"} for name in BENCHMARKS],
        harnesses=harnesses,
        execution=execution | sections.pop("execution", {}),
        **sections,
    )


def questions(name: str, count: int) -> list[dict[str, str]]:
    return [
        {"question": f"{name}: What is {n} + {n}?", "answer": f"answer is {2 * n}."}
        for n in range(count)
    ]


def expected_score(count: int) -> float:
    asked = questions("", count)
    right = [item["answer"] in answer_sums(item["question"]) for item in asked]
    return round(sum(right) / count, 4)


# ---------------------------------------------------------------- what can be struck


def on_processes(chaos: Chaos, parts: Mapping[str, str]) -> Strikes:
    """Every signal, and a pause, for what runs of a project: parts by words of their command
    line."""
    found: dict[str, Callable[[], Any]] = {}
    for name, processes in processes_of(chaos.project.folder, parts).items():
        process = chaos.chance.choice(processes)
        for number in SIGNALS:
            found[f"{number.name[3:]} to {name}"] = lambda p=process, n=number: p.send_signal(n)
        found[f"pause of {name}"] = lambda p=process: pause(chaos, p)
    return found


def processes_of(folder: Path, parts: Mapping[str, str]) -> dict[str, list[psutil.Process]]:
    found: dict[str, list[psutil.Process]] = {}
    for each in sorted(psutil.process_iter(["cmdline", "cwd", "status"]), key=lambda p: p.pid):
        words = " ".join(each.info["cmdline"] or [])
        inside = str(folder) in words or str(each.info["cwd"] or "").startswith(str(folder))
        for name, part in parts.items():
            if inside and part in words and each.info["status"] != "zombie":
                found.setdefault(name, []).append(each)
                break
    return found


def pause(chaos: Chaos, process: psutil.Process) -> None:
    def go_on() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()

    process.suspend()
    chaos.later(chaos.chance.uniform(0.5, 8), go_on)


def on_the_endpoint(chaos: Chaos) -> Strikes:
    """It is away for a moment, or answers in some wrong way."""

    def away() -> None:
        chaos.endpoint.stop_listening()
        chaos.later(chaos.chance.uniform(0.2, 2), chaos.endpoint.listen)

    def wrong() -> None:
        chaos.endpoint.fault = chaos.chance.choice(FAULTS)
        chaos.later(chaos.chance.uniform(0.2, 2), right)

    def right() -> None:
        chaos.endpoint.fault = None

    return {"endpoint away": away, "endpoint wrong": wrong}


def on_the_disk(chaos: Chaos, disk: Path) -> Strikes:
    def full() -> None:
        ballast = fill(disk)
        chaos.later(chaos.chance.uniform(0.5, 4), lambda: ballast.unlink(missing_ok=True))

    return {} if (disk / "ballast").exists() else {"disk full": full}


def on_containers(chaos: Chaos, names: Callable[[], list[str]]) -> Strikes:
    """What a person or the engine may do to a container."""
    running = names()
    if not running:
        return {}
    name = chaos.chance.choice(running)

    def engine(*words: str) -> None:
        subprocess.run(["docker", *words, name], capture_output=True, check=False)

    def paused() -> None:
        engine("pause")
        chaos.later(chaos.chance.uniform(0.5, 8), lambda: engine("unpause"))

    return {
        "kill of a container": lambda: engine("kill"),
        "stop of a container": lambda: engine("stop", "--time", "1"),
        "restart of a container": lambda: engine("restart", "--time", "0"),
        "removal of a container": lambda: engine("rm", "--force"),
        "pause of a container": paused,
    }


def counted(struck: list[str]) -> str:
    """`5 x KILL to keeper, 3 x disk full`."""
    return ", ".join(f"{count} x {name}" for name, count in Counter(struck).most_common())
