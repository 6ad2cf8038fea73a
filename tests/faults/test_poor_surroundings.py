"""Full disks, poor machines, readers that went away: the script copes, and the samples stay."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from interrupted import PARALLELISM, Evaluation

from rig.endpoint import ScriptedEndpoint
from rig.machine import TOOLS
from rig.pipeline import ROOT
from rig.small_disk import fill, small_disk
from rig.waiting import PATIENCE
from snakeval.config.load import load
from snakeval.plan.make import make_run
from snakeval.render.task import render

NEWER_THAN_BASH_3_2 = {
    "associative arrays": r"(declare|local|typeset)\s+-A",
    "namerefs": r"(declare|local|typeset)\s+-n",
    "mapfile": r"\b(mapfile|readarray)\b",
    "case conversion": r"\$\{\w+(\^|,)",
    "transformations": r"\$\{\w+@[A-Za-z]\}",
    "&>> and |&": r"&>>|\|&",
    "coproc": r"\bcoproc\b",
    "wait -n": r"\bwait\s+-n\b",
    "fractions of seconds": r"\bread\b.*\s-t\s*\d*\.\d",
    "[[ -v": r"\[\[?\s+-v\s",
    "EPOCHSECONDS, BASHPID": r"\$\{?(EPOCH\w+|BASHPID|SRANDOM)",
    "negative indexes": r"\$\{\w+\[-\d",
    "empty arrays under set -u": r'(?<!\+)"\$\{(stale|extra_args|\w+_names|logs)\[@\][^+]',
}


@pytest.mark.parametrize("feature", NEWER_THAN_BASH_3_2.values(), ids=NEWER_THAN_BASH_3_2)
def test_run_sh_needs_nothing_newer_than_bash_3_2(feature: str) -> None:
    run = make_run(load([ROOT / "config" / "config.yaml"], {}), ROOT / "config" / "catalogue")
    for runtime in ("docker", "podman", "process"):
        text = render(run.tasks[0], runtime, "image")
        for number, line in enumerate(text.splitlines(), start=1):
            assert not re.search(feature, line.partition(" # ")[0]), f"{runtime}:{number}: {line}"


def test_run_sh_needs_no_flock_timeout_setsid_or_ps(evaluation: Evaluation) -> None:
    # given a machine with next to nothing on its PATH
    tools = evaluation.project.folder / "tools"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    poor = {"PATH": str(tools), "BASH_COMPAT": "3.2"}
    evaluation.finish_the_short_one()
    # when the script is stopped, killed, and continued there
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with evaluation.started_by_hand(**poor) as script:
            evaluation.wait_for_the_middle(evaluation.answered + 8)
            script.send_signal(signal_number)
            assert script.wait(PATIENCE) != 0
            evaluation.wait_until_nothing_runs()
    ended = evaluation.by_hand(**poor).check()
    # then nothing was missing
    for text in (ended.output, evaluation.log_by_hand.read_text()):
        assert "not found" not in text
    evaluation.project.snakemake().check()
    evaluation.check_published(asked_again_at_most=2 * PARALLELISM)


def test_a_reader_that_went_away_ends_no_script(evaluation: Evaluation) -> None:
    """`bash run.sh | tee`, Ctrl-C: tee is gone first, and the script still cleans up."""
    evaluation.finish_the_short_one()
    reading, writing = os.pipe()
    script = subprocess.Popen(
        ["bash", evaluation.script],
        env=evaluation.project.variables,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
        start_new_session=True,
    )
    os.close(writing)
    try:
        evaluation.wait_for_the_middle()
        os.close(reading)
        script.terminate()
        assert script.wait(PATIENCE) == 143
    finally:
        script.kill()
        script.wait()
    assert not evaluation.harnesses()
    assert evaluation.attempts() == ["cancelled"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB as the output folder."""
    with small_disk(tmp_path / "out", 12) as folder:
        yield folder


def fill_and_continue(evaluation: Evaluation, leave: int) -> None:
    disk = evaluation.project.folder / "out"
    # given a disk that fills up in the middle
    with evaluation.project.started("--retries", "0") as snakemake:
        evaluation.wait_for_the_middle()
        ballast = fill(disk, leave)
        assert snakemake.wait(PATIENCE) != 0
        evaluation.wait_until_nothing_runs()
    assert not evaluation.is_published()
    # when it is started again and still full, it says so and asks nothing
    asked = evaluation.endpoint.requests.total()
    still = evaluation.project.snakemake("--retries", "0").refused()
    assert "the disk is full" in still.output or "No space left" in still.output
    assert evaluation.endpoint.requests.total() == asked
    # when there is space again
    ballast.unlink()
    evaluation.project.snakemake("--retries", "0").check()


def test_a_disk_that_fills_up_ends_the_harness_while_answers_can_be_stored(
    disk: Path, tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    evaluation = Evaluation.prepare(tmp_path, endpoint)
    endpoint.latency = 0.5
    fill_and_continue(evaluation, leave=2 << 20)
    evaluation.check_published(asked_again_at_most=PARALLELISM)


def test_a_disk_that_is_full_at_once_costs_the_answers_of_two_seconds(
    disk: Path, tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    evaluation = Evaluation.prepare(tmp_path, endpoint)
    endpoint.latency = 0.5
    fill_and_continue(evaluation, leave=0)
    evaluation.check_published(asked_again_at_most=5 * PARALLELISM)


@pytest.mark.docker
def test_a_container_on_a_full_disk_loses_no_answer(
    disk: Path, tmp_path: Path, endpoint: ScriptedEndpoint, nemo_image: str
) -> None:
    evaluation = Evaluation.prepare(tmp_path, endpoint, "docker")
    endpoint.latency = 0.5
    fill_and_continue(evaluation, leave=2 << 20)
    evaluation.check_published(asked_again_at_most=PARALLELISM)
