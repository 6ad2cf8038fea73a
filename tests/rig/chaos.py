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
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from rig import reliability
from rig.endpoint import Fault, ScriptedEndpoint, answer_sums
from rig.own_engine import OwnEngine
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
    "blind": "$(mktemp --suffix=.blind)",
}
"""Where the harness keeps its answers: in its work folder, or where the next attempt finds none."""

TEMPORARY = "temporary"

IN_FLIGHT = THREADS * len(BENCHMARKS)
PER_STRIKE = 8
"""Answers that are given between two strikes: whoever is struck is in the middle."""

PATIENT = 6
"""Seconds that the gateway waits for an endpoint that has gone: whoever is to start it again may
have been struck, and is not there until the next start."""

FAULTS = [
    *(Fault("status", status=status) for status in (429, 500, 503)),
    *(Fault(kind) for kind in ("hang", "drop", "truncate", "none")),
]
SIGNALS = [
    getattr(signal, f"SIG{name}")
    for name in ("KILL", "TERM", "INT", "HUP", "QUIT", "USR1", "PIPE", "ALRM")
]

Strikes = Mapping[str, Callable[[], Any]]
"""By what is struck, and how: `keeper: KILL`."""


class Rationed(ScriptedEndpoint):
    """Gives no more answers than its ration; then whoever asks waits. It knows what was in flight
    when something was struck.

    cannot_be_kept  whoever gets an answer now may not be able to write it down: its disk is full,
                    or was a moment ago
    spoilt          by benchmark: requests that a fault of the endpoint has hit
    unkept          by benchmark: answers that perhaps could not be written down
    at_stake        by benchmark: the most that was in flight from one strike to the next, of all
    """

    ration: float = 0
    cannot_be_kept = False

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.spoilt: Counter[str] = Counter()
        self.unkept: Counter[str] = Counter()
        self.at_stake: Counter[str] = Counter()
        self._most: Counter[str] = Counter()
        self._open: dict[int, str] = {}

    @property
    def held(self) -> bool:
        return self.answers.total() >= self.ration

    @held.setter
    def held(self, _: bool) -> None:
        """The ration alone decides."""

    def open(self, benchmark: str) -> int:
        """Requests of it that are in flight."""
        return list(self._open.values()).count(benchmark)

    def begin(self, prompts: list[str], body: dict[str, Any]) -> Fault | None:
        with self._changed:
            fault = super().begin(prompts, body)
            asker = benchmark_of(prompts[0])
            self._open[threading.get_ident()] = asker
            self._most[asker] = max(self._most[asker], self.open(asker))
            self.spoilt[asker] += fault is not None
            return fault

    def give(self, prompts: list[str], send: Callable[[], None]) -> None:
        def sent() -> None:
            send()
            self.unkept[self._open.pop(threading.get_ident())] += self.cannot_be_kept

        super().give(prompts, sent)

    def end(self) -> None:
        with self._changed:
            self._open.pop(threading.get_ident(), None)
            super().end()

    def struck(self) -> None:
        """What is in flight now, and what was since the last strike, may be lost."""
        with self._changed:
            self.at_stake.update(self._most)
            self._most = Counter(self._open.values())


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
    between: Callable[[], Any] = lambda: None
    words: tuple[str, ...] = ()
    struck: list[str] = field(default_factory=list, init=False)
    _later: list[threading.Timer] = field(default_factory=list, init=False)
    _asked: int = field(default=0, init=False)
    _possible: set[str] = field(default_factory=set, init=False)

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
        return self.count * PER_STRIKE + self.at_most + 20

    @property
    def at_most(self) -> int:
        """More answers than a benchmark may lose by all strikes."""
        return THREADS * (self.count + 4)

    def reign(self) -> None:
        """Strikes while Snakemake runs, and starts it again where it has ended; then one start
        more, without a strike. The last strike is at a benchmark that keeps no answer itself, when
        more of its answers were given than all strikes together may cost."""
        while len(self.struck) < self.count:
            with self.project.started("--retries", "2", *self.words) as snakemake:
                while len(self.struck) < self.count and snakemake.poll() is None:
                    if len(self.struck) < self.count - 1:
                        self._wait_until_it_is_at_it(snakemake)
                        self._strike()
                    else:
                        self._strike_last(snakemake)
                if len(self.struck) == self.count:
                    self.calm()
                    snakemake.wait(PATIENCE)
            if len(self.struck) < self.count:
                self.between()
        self._wait_until_nothing_runs()
        self.between()
        self.project.snakemake("--retries", "3", *self.words).check()

    def _wait_until_nothing_runs(self) -> None:
        wait_until(
            lambda: not self.project.leftovers(),
            told=lambda: f"seed {self.seed}, after {self.struck}: {self.project.leftovers()}",
        )

    def _wait_until_it_is_at_it(self, snakemake: subprocess.Popen[bytes]) -> None:
        """Most strikes come when it has asked something since the last one."""
        self._wait(snakemake, lambda: self.endpoint.requests.total() > self._asked)
        time.sleep(self.chance.uniform(0, 1))

    def _wait(self, snakemake: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
        wait_until(
            lambda: condition() or snakemake.poll() is not None,
            told=lambda: f"seed {self.seed}, after {self.struck}: {self.project.log[-4000:]}",
        )

    def _strike(self) -> None:
        for _ in range(self.chance.randint(1, 2)):
            possible = self.strikes(self)
            self._possible.update(possible)
            if not possible or len(self.struck) == self.count - 1:
                return
            self._do(self._seldom(sorted(possible)), possible)
            self.endpoint.ration += PER_STRIKE

    def _do(self, name: str, possible: Strikes) -> None:
        self.endpoint.struck()
        with contextlib.suppress(psutil.NoSuchProcess):
            possible[name]()
        self.struck.append(name)
        self._asked = self.endpoint.requests.total()
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)

    def _seldom(self, names: list[str]) -> str:
        """One of what was struck least, in the way that was taken least."""

        def times(name: str) -> tuple[int, int]:
            done = [each.split(": ") for each in self.struck]
            part, way = name.split(": ")
            return sum(each[0] == part for each in done), sum(each[1] == way for each in done)

        least = min(map(times, names))
        return self.chance.choice([name for name in names if times(name) == least])

    def _strike_last(self, snakemake: subprocess.Popen[bytes]) -> None:
        def is_at_it() -> bool:
            """Where it is cancelled, the others go on, so that the next start comes."""
            is_ready = self._answered("blind") >= self.at_most and self.endpoint.open("blind") > 0
            if self.endpoint.held and not is_ready:
                self.endpoint.ration += IN_FLIGHT
            return is_ready

        self._wait(snakemake, is_at_it)
        keepers = processes_of(self.project.folder, {"keeper": "/blind/run.sh"}).get("keeper")
        if keepers and snakemake.poll() is None:
            self._do("keeper: KILL", {"keeper: KILL": keepers[0].kill})

    def _answered(self, benchmark: str) -> int:
        """Its questions that have an answer."""
        return sum(benchmark_of(prompt) == benchmark for prompt in list(self.endpoint.answers))

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
        after = f"seed {self.seed}, after {self.struck}"
        scores = {row["task"]: round(row["value"], 4) for row in self.project.rows()}
        assert scores == dict.fromkeys(BENCHMARKS, expected_score(self.questions)), after
        self.endpoint.struck()
        again = {name: self._asked_again(name) for name in BENCHMARKS}
        at_stake = self.endpoint.at_stake + self.endpoint.unkept
        assert all(0 <= again[name] <= at_stake[name] for name in BENCHMARKS), (
            f"{after}: asked again {again}, in flight at the strikes {dict(at_stake)}"
        )
        self._wait_until_nothing_runs()
        assert not temporary_files(self.project.folder), after
        told = (
            f"seed {self.seed}; {counted(self.struck)}; {self.questions * len(BENCHMARKS)} answers"
            f" needed, {sum(again.values())} requests beyond that of {at_stake.total()} in flight"
            f" at the strikes, or given while the disk was full; nothing was left"
        )
        print(f"{told}; possible and never struck: {', '.join(self.spared) or 'nothing'}")
        if self.count > FEW:
            reliability.note(f"chaos, {self.count} strikes: {self.place}", told)

    def _asked_again(self, benchmark: str) -> int:
        """Requests beyond the one that each question needs, without those that went wrong at the
        endpoint."""
        asked = [
            count
            for prompt, count in self.endpoint.requests.items()
            if benchmark_of(prompt) == benchmark
        ]
        assert len(asked) == self.questions
        return sum(asked) - self.questions - self.endpoint.spoilt[benchmark]

    @property
    def spared(self) -> list[str]:
        """What could have been struck, or in a way that was possible, and never was."""
        done = {word for name in self.struck for word in name.split(": ")}
        seen = {word for name in self._possible for word in name.split(": ")}
        return sorted(seen - done)


def environment(folder: Path) -> dict[str, str]:
    """Of a project in that folder: a dead owner is noticed soon, and what is left in the folder for
    temporary files is seen."""
    temporary = folder / TEMPORARY
    temporary.mkdir(parents=True, exist_ok=True)
    return {"SNAKEVAL_SILENCE": "5", "TMPDIR": str(temporary)}


def temporary_files(folder: Path) -> list[str]:
    """Of tasks: not the harness's own, and not those of a start (one of a user, that stays; and
    what is left where its whole process group is killed, as these tests do)."""
    found = [path.name for path in (folder / TEMPORARY).iterdir()]
    of_starts = ("snakeval-", "snakemake")
    return [
        name for name in found if not name.endswith(".blind") and not name.startswith(of_starts)
    ]


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
    params = {"request_timeout": 2 * PATIENT}
    execution = {"output_dir": "out", "min_free_gb": 0, "gateway": True}
    chaos.project.write(
        [{"name": f"{name}.{name}"} for name in BENCHMARKS],
        params,
        harnesses=harnesses,
        execution=execution | sections.pop("execution", {}),
        **sections,
    )


def benchmark_of(prompt: str) -> str:
    return prompt.partition(":")[0]


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
            found[f"{name}: {number.name[3:]}"] = partial(process.send_signal, number)
        found[f"{name}: pause"] = partial(pause, chaos, process)
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

    return {"endpoint: away": away, "endpoint: wrong": wrong}


def on_the_disk(chaos: Chaos, disk: Path) -> Strikes:
    def full() -> None:
        chaos.endpoint.cannot_be_kept = True
        ballast = fill(disk)
        chaos.later(chaos.chance.uniform(0.5, 4), lambda: emptied(ballast))

    def emptied(ballast: Path) -> None:
        ballast.unlink(missing_ok=True)
        chaos.endpoint.cannot_be_kept = False

    return {} if (disk / "ballast").exists() else {"disk: full": full}


def on_containers(
    chaos: Chaos, names: Callable[[], list[str]], command: tuple[str, ...] = ("docker",)
) -> Strikes:
    """What a person or the engine may do to a container."""
    running = names()
    if not running:
        return {}
    name = chaos.chance.choice(running)

    def engine(*words: str) -> None:
        subprocess.run([*command, *words, name], capture_output=True, check=False)

    def paused() -> None:
        engine("pause")
        chaos.later(chaos.chance.uniform(0.5, 8), lambda: engine("unpause"))

    return {
        **{
            f"container: {number.name[3:]}": partial(engine, "kill", "--signal", number.name)
            for number in SIGNALS
        },
        "container: stop": lambda: engine("stop", "--time", "1"),
        "container: restart": lambda: engine("restart", "--time", "0"),
        "container: removal": lambda: engine("rm", "--force"),
        "container: pause": paused,
    }


def on_conmons(chaos: Chaos, run: str) -> Strikes:
    """What podman leaves beside a container, to hold its ends and to see its end."""
    found = [
        each
        for each in psutil.process_iter(["name", "cmdline"])
        if each.info["name"] == "conmon" and run in " ".join(each.info["cmdline"] or [])
    ]
    if not found:
        return {}
    process = chaos.chance.choice(sorted(found, key=lambda each: each.pid))
    return {
        "conmon: KILL": process.kill,
        "conmon: TERM": process.terminate,
        "conmon: pause": partial(pause, chaos, process),
    }


def on_the_engine(chaos: Chaos, engine: OwnEngine) -> Strikes:
    """It is restarted in an orderly way, or killed and started again; its containers do not outlive
    that (live-restore is off)."""

    def begin_again() -> None:
        chaos.later(chaos.chance.uniform(0.2, 4), engine.start)

    def stop() -> None:
        engine.stop()
        begin_again()

    def kill() -> None:
        engine.kill()
        begin_again()

    return {"engine: restart": stop, "engine: KILL": kill} if engine.lives() else {}


def counted(struck: list[str]) -> str:
    """`5 x keeper: KILL, 3 x disk: full`."""
    return ", ".join(f"{count} x {name}" for name, count in Counter(struck).most_common())
