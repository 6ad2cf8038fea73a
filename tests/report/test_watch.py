"""Checkpoints as they appear: complete ones join, each is evaluated once, the gate is heard."""

import json
import shutil
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
import yaml

from rig.built_runs import publish, records
from snakeval.cli.front import main as front
from snakeval.cli.front.watch import _finished
from snakeval.errors import InputError
from snakeval.plan.make import plan
from snakeval.plan.run import Run
from snakeval.results.tables import write_tables
from snakeval.run_folder import controller
from snakeval.start.begin import resolved_text
from snakeval.watch import alert
from snakeval.watch.look import TRIES, Seen, Watch, look
from snakeval.watch.state import State, alone

ROOT = Path(__file__).parents[2]
CATALOGUE = ROOT / "config" / "catalogue"
N = 400


class Bench:
    """A config with a pattern of checkpoints, and an evaluation that takes no time.

    right   how many of the answers of a checkpoint are right, by its name; failing: those that
            end without a result
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.right: dict[str, int] = {}
        self.failing: set[str] = set()
        self.values: dict[str, Any] = {}
        self.started: list[list[str]] = []
        self.now = 1000.0
        self.said: list[str] = []
        own = {
            "kind": "command",
            "command": "x",
            "format": "scores",
            "results": "results.json",
            "samples": "samples.jsonl",
            "tasks": {"quiz": None},
        }
        content = {
            "models": [{"checkpoints": str(folder / "ckpt" / "step-*")}],
            "deployment": {"type": "vllm", "image": "vllm:1", "served_model_name": "???"},
            "execution": {"output_dir": str(folder / "out")},
            "harnesses": {"own": own},
            "evaluation": {"tasks": ["own.quiz"]},
        }
        self.config = folder / "my.yaml"
        self.config.write_text(yaml.safe_dump(content))

    def add(self, step: int, right: int = 300) -> Path:
        made = self.folder / "ckpt" / f"step-{step}"
        made.mkdir(parents=True)
        (made / "model.safetensors").write_text("weights")
        self.right[made.name] = right
        return made

    def watch(self, **options: Any) -> Watch:
        return Watch(
            [self.config],
            self.values,
            ROOT,
            self.folder / "state",
            self.evaluate,
            _finished,
            say=self.said.append,
            clock=lambda: self.now,
            **options,
        )

    def look(self, **options: Any) -> Seen:
        return look(self.watch(**options))

    def evaluate(self, files: Sequence[Path]) -> int:
        runs = [run for run in plan(list(files), {}, CATALOGUE) if not run.tasks[0].published]
        self.started.append([name_of(run) for run in runs])
        for run in runs:
            if name_of(run) not in self.failing:
                self.finish(run)
        return 0

    def finish(self, run: Run) -> None:
        run.paths.dir.mkdir(parents=True)
        run.paths.config.write_text(resolved_text(run))
        run.paths.record.write_text(json.dumps({"images": {}, "layout": 2, "tasks": ["quiz"]}))
        right = self.right[name_of(run)]
        publish(run.tasks[0], records([1.0] * right + [0.0] * (N - right)))
        write_tables(run, run.members)


def name_of(run: Run) -> str:
    return str(run.identity["model_id"])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_folder_joins_when_it_has_been_quiet_and_is_evaluated_once(bench: Bench) -> None:
    first = bench.add(1000)
    assert bench.look(quiet=60).waiting == ["step-1000"]

    bench.now += 50
    (first / "model-2.safetensors").write_text("still being written")
    assert bench.look(quiet=60).waiting == ["step-1000"]
    bench.now += 50
    assert bench.look(quiet=60).waiting == ["step-1000"], "quiet for 50 s only"
    bench.now += 20
    assert bench.look(quiet=60).started == ["step-1000"]
    bench.add(2000)
    bench.now += 500
    assert bench.look(quiet=60).waiting == ["step-2000"]
    bench.now += 61
    assert bench.look(quiet=60).started == ["step-2000"]
    assert bench.look(quiet=60) == Seen()
    assert bench.started == [["step-1000"], ["step-2000"]]


def test_marker_says_that_a_folder_is_complete(bench: Bench) -> None:
    folder = bench.add(1000)
    bench.now += 10_000
    assert bench.look(marker="done").waiting == ["step-1000"]
    (folder / "done").touch()
    assert bench.look(marker="done").started == ["step-1000"]


def test_unfinished_one_is_tried_again_but_not_for_ever_and_keeps_no_other_away(
    bench: Bench,
) -> None:
    for step in (1000, 2000):
        (bench.add(step) / "done").touch()
    bench.failing = {"step-1000"}

    for _ in range(TRIES + 2):
        bench.look(marker="done")

    assert bench.started == [["step-1000", "step-2000"], *[["step-1000"]] * (TRIES - 1)]
    assert [line for line in bench.said if "left alone" in line]


def test_gate_refuses_a_worse_checkpoint_alerts_once_and_is_no_base_for_later_ones(
    bench: Bench, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("others: {max_drop: 0.05}\n")
    told = tmp_path / "told.jsonl"
    options = {
        "marker": "done",
        "policy": policy,
        "command": f"cat >> {told}; echo >> {told}",
    }
    for step, right in ((1000, 300), (2000, 200), (3000, 305)):
        (bench.add(step, right) / "done").touch()

    assert bench.look(**options).refused == ["step-2000"]
    assert bench.look(**options).refused == [], "told once, also after a restart"

    [alert] = [json.loads(line) for line in told.read_text().splitlines()]
    assert (alert["decision"], Path(alert["checkpoint"]).name) == ("NO-GO", "step-2000")
    assert "quiz" in alert["reasons"][0]
    state = State.read(tmp_path / "state" / "state.json").checkpoints
    verdicts = {Path(folder).name: (each.verdict, each.base) for folder, each in state.items()}
    assert verdicts["step-1000"] == (None, None), "there is nothing before it"
    assert verdicts["step-3000"][0] == "GO"
    assert verdicts["step-3000"][1] == verdicts["step-2000"][1], "held against step-1000"


def test_checkpoint_that_another_process_evaluates_is_left_to_it(bench: Bench) -> None:
    (bench.add(1000) / "done").touch()
    [run] = plan([bench.config], {}, CATALOGUE)
    run.paths.dir.mkdir(parents=True)
    run.paths.record.write_text(json.dumps({"layout": 2}))
    hold = controller.Hold(run.paths.controller)

    assert (bench.look(marker="done").busy, bench.started) == (["step-1000"], [])
    hold.release()
    run.paths.config.write_text(resolved_text(run))
    bench.failing = {"step-1000"}
    assert bench.look(marker="done").started == ["step-1000"]


def test_what_another_process_evaluates_holds_up_no_other_checkpoint(bench: Bench) -> None:
    """Started together, both were refused, and after three looks the new one was left alone."""
    (bench.add(1000) / "done").touch()
    [run] = plan([bench.config], {}, CATALOGUE)
    run.paths.dir.mkdir(parents=True)
    run.paths.record.write_text(json.dumps({"layout": 2}))
    controller.Hold(run.paths.controller)
    (bench.add(2000) / "done").touch()

    seen = bench.look(marker="done")

    assert (seen.busy, seen.started) == (["step-1000"], ["step-2000"])
    assert bench.started == [["step-2000"]]


def test_baseline_that_is_evaluated_elsewhere_holds_up_no_checkpoint(bench: Bench) -> None:
    content = yaml.safe_load(bench.config.read_text())
    baseline = {"checkpoint_path": str(bench.folder), "served_model_name": "baseline"}
    content["models"].append({"deployment": baseline})
    bench.config.write_text(yaml.safe_dump(content))
    bench.right["baseline"] = 300
    (bench.add(1000) / "done").touch()
    _, run = plan([bench.config], {}, CATALOGUE)
    run.paths.dir.mkdir(parents=True)
    run.paths.record.write_text(json.dumps({"layout": 2}))
    hold = controller.Hold(run.paths.controller)

    bench.look(marker="done")

    assert bench.started == [["step-1000"]]
    hold.release()
    shutil.rmtree(run.paths.dir)
    (bench.add(2000) / "done").touch()
    bench.look(marker="done")
    assert bench.started[1:] == [["baseline", "step-2000"]], "with the next start"


def test_each_checkpoint_has_a_job_of_its_own(bench: Bench) -> None:
    """While one job of two runs waited in the queue, the next look found one of them alone."""
    bench.values = {"controller": "job"}
    for step in (1000, 2000):
        (bench.add(step) / "done").touch()

    bench.look(marker="done")

    assert bench.started == [["step-1000"], ["step-2000"]]


def test_killed_watch_goes_on_where_it_was(bench: Bench) -> None:
    """Its time limit is no failure of a checkpoint: three of them left it alone."""
    (bench.add(1000) / "done").touch()
    evaluate = bench.evaluate

    def killed(files: Sequence[Path]) -> int:
        raise KeyboardInterrupt

    bench.evaluate = killed  # type: ignore[method-assign]
    for _ in range(TRIES + 2):
        with pytest.raises(KeyboardInterrupt):
            bench.look(marker="done")
    bench.evaluate = evaluate  # type: ignore[method-assign]

    assert bench.look(marker="done").started == ["step-1000"]
    assert bench.look(marker="done") == Seen()
    [known] = State.read(bench.folder / "state" / "state.json").checkpoints.values()
    assert (known.starts, known.cut_off) == (0, 0)


def test_checkpoint_that_disappears_during_its_evaluation_ends_no_look(bench: Bench) -> None:
    folder = bench.add(1000)
    (folder / "done").touch()
    (bench.add(2000) / "done").touch()
    evaluate = bench.evaluate

    def deleting(files: Sequence[Path]) -> int:
        code = evaluate(files)
        shutil.rmtree(folder)
        return code

    bench.evaluate = deleting  # type: ignore[method-assign]
    assert bench.look(marker="done").started == ["step-1000", "step-2000"]
    assert bench.look(marker="done") == Seen()
    shutil.rmtree(bench.folder / "ckpt")
    assert bench.look(marker="done") == Seen()


def test_checkpoint_is_a_base_also_when_its_folder_is_deleted(bench: Bench, tmp_path: Path) -> None:
    """A training that keeps its last checkpoint only: nothing was ever held against anything."""
    options = {"marker": "done", "policy": policy(tmp_path)}
    for step, right in ((1000, 300), (2000, 301)):
        folder = bench.add(step, right)
        (folder / "done").touch()
        bench.look(marker="done")  # and the gate comes too late for the folders
        shutil.rmtree(folder)
    (bench.add(3000, 200) / "done").touch()

    assert bench.look(**options).refused == ["step-3000"]
    assert verdicts(tmp_path) == {"step-1000": None, "step-2000": "GO", "step-3000": "NO-GO"}


def test_each_training_is_held_against_itself(bench: Bench, tmp_path: Path) -> None:
    content = yaml.safe_load(bench.config.read_text())
    content["models"] = [{"checkpoints": f"{tmp_path}/{name}/step-*"} for name in ("big", "small")]
    bench.config.write_text(yaml.safe_dump(content))
    for name, step, right in (("big", 9000, 350), ("small", 10, 100), ("small", 20, 101)):
        made = tmp_path / name / f"step-{step}"
        made.mkdir(parents=True)
        (made / "done").touch()
        bench.right[made.name] = right

    assert bench.look(marker="done", policy=policy(tmp_path)).refused == []
    assert verdicts(tmp_path) == {"step-9000": None, "step-10": None, "step-20": "GO"}


def test_webhook_that_is_down_hears_of_it_later_and_once(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert, "PAUSES", (0.0,))
    heard = HTTPServer(("127.0.0.1", 0), Hook)
    address = f"http://127.0.0.1:{heard.server_port}/key-4711"
    told = tmp_path / "told"
    options = {
        "marker": "done",
        "policy": policy(tmp_path),
        "command": f"echo x >> {told}",
        "webhook": address,
    }
    for step, right in ((1000, 300), (2000, 200)):
        (bench.add(step, right) / "done").touch()

    heard.server_close()  # nobody listens
    assert bench.look(**options).refused == ["step-2000"]
    assert "the webhook did not answer" in bench.said[-1]
    assert "key-4711" not in " ".join(bench.said)
    heard = HTTPServer(("127.0.0.1", heard.server_port), Hook)
    Thread(target=heard.serve_forever, daemon=True).start()
    for _ in range(2):
        assert bench.look(**options).refused == []
    heard.shutdown()
    heard.server_close()

    assert [each["decision"] for each in Hook.bodies] == ["NO-GO"]
    assert told.read_text() == "x\n", "the command had heard of it the first time"


def test_other_weights_below_the_same_name_are_told(bench: Bench) -> None:
    folder = bench.add(1000)
    (folder / "done").touch()
    bench.look(marker="done")

    (folder / "model.safetensors").write_text("of another training")

    assert bench.look(marker="done").started == []
    assert "step-1000: its files have changed since" in bench.said[-1]
    said = len(bench.said)
    bench.look(marker="done")
    assert len(bench.said) == said, "told once"


def test_gate_that_could_not_decide_decides_later(bench: Bench, tmp_path: Path) -> None:
    broken = policy(tmp_path)
    text = broken.read_text()
    for step, right in ((1000, 300), (2000, 200)):
        (bench.add(step, right) / "done").touch()

    broken.write_text("others: {max_drop: [")
    assert bench.look(marker="done", policy=broken).refused == []
    broken.write_text(text)

    assert bench.look(marker="done", policy=broken).refused == ["step-2000"]


def policy(folder: Path) -> Path:
    path = folder / "policy.yaml"
    path.write_text("others: {max_drop: 0.05}\n")
    return path


def verdicts(folder: Path) -> dict[str, str | None]:
    known = State.read(folder / "state" / "state.json").checkpoints
    return {Path(name).name: each.verdict for name, each in known.items()}


class Hook(BaseHTTPRequestHandler):
    bodies: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()


def test_second_watch_of_the_same_checkpoints_is_refused(tmp_path: Path) -> None:
    with alone(tmp_path / "state"), pytest.raises(InputError) as error, alone(tmp_path / "state"):
        pass
    assert "another process watches these checkpoints" in str(error.value)
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0, "it holds a copy of the models"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "which config?"),
        (["--config", "no_models.yaml"], "names no pattern of checkpoints to watch"),
        (["--config", "my.yaml", "--webhook", "NOT_SET"], "export NOT_SET=https://"),
        (["--config", "my.yaml", "--gate", "nowhere.yaml"], "there is no such policy"),
        (["--config", "my.yaml", "--evry", "3"], "did you mean '--every'"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(bench.folder)
    Path("no_models.yaml").write_text("evaluation: {tasks: [ifeval]}\n")
    try:
        code = front.main(["watch", *words, "--once"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code
    assert told in capsys.readouterr().err


def test_watch_ends_in_time_for_the_next_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench.folder)
    assert front.main(["watch", "--config", "my.yaml", "--for", "0", "--every", "60"]) == 75
