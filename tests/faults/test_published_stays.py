"""What is finished stays finished: whatever happens to the job that published it, to Snakemake's
own records, or to a start that begins the benchmark anew."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from interrupted import PARALLELISM, SAMPLES, Evaluation

from rig.waiting import PATIENCE, wait_until


def marked(evaluation: Evaluation) -> bool:
    """Checked and marked complete; the links come next."""
    return bool(list(evaluation.task.glob("record/*/complete")))


def wait_closely(condition: Callable[[], bool]) -> None:
    """For moments that are over within milliseconds."""
    wait_until(condition, every=0.001)


def test_term_while_publishing_ends_nothing(evaluation: Evaluation) -> None:
    with evaluation.project.started() as snakemake:
        evaluation.wait_for_the_middle()
        wait_closely(lambda: marked(evaluation))
        os.killpg(snakemake.pid, signal.SIGTERM)
        snakemake.wait(PATIENCE)
        assert evaluation.is_published()
    evaluation.project.snakemake().check()
    assert evaluation.attempts() == ["published"]
    evaluation.check_published()


def test_killed_between_the_mark_and_the_links_nothing_is_asked_again(
    evaluation: Evaluation,
) -> None:
    with evaluation.project.started() as snakemake:
        evaluation.wait_for_the_middle()
        wait_closely(lambda: marked(evaluation))
        os.killpg(snakemake.pid, signal.SIGKILL)
    shutil.rmtree(evaluation.task / "published", ignore_errors=True)
    evaluation.project.snakemake().check()
    evaluation.check_published()


def test_a_job_that_fails_after_publishing_loses_nothing(evaluation: Evaluation) -> None:
    # given a job that has published, and is killed before it could end
    for _ in range(5):  # that moment is over within milliseconds
        with evaluation.project.started("--retries", "0") as snakemake:
            evaluation.wait_for_the_middle()
            script = evaluation.owner()
            wait_closely(lambda: marked(evaluation))
            with contextlib.suppress(psutil.NoSuchProcess):
                script.suspend()
                while not evaluation.is_published():  # one step at a time
                    script.resume()
                    time.sleep(0.001)
                    script.suspend()
                script.kill()
            failed = snakemake.wait(PATIENCE) != 0
        if failed:
            break
        evaluation.endpoint.reset_counters()
        shutil.rmtree(evaluation.project.run_folder)
    assert failed, "the script was faster than this test"
    # when the same command is given again
    again = evaluation.project.snakemake("--retries", "0").check()
    # then it is linked, and nothing is asked
    assert "nothing is asked again" in again.output
    assert evaluation.attempts() == ["published"]
    evaluation.check_published()


def test_forced_reruns_and_lost_records_ask_the_endpoint_nothing(evaluation: Evaluation) -> None:
    evaluation.project.snakemake().check()
    asked = evaluation.endpoint.requests.total()
    for flags in (["-R", "evaluate"], ["-F"]):
        evaluation.project.snakemake(*flags).check()
        evaluation.check_published()
    shutil.rmtree(evaluation.project.folder / ".snakemake")
    evaluation.project.snakemake().check()
    evaluation.check_published()
    assert evaluation.endpoint.requests.total() == asked


def test_fresh_starts_over_keeps_the_old_folder_and_can_be_continued(
    evaluation: Evaluation,
) -> None:
    # given a finished run
    evaluation.project.snakemake().check()
    (old,) = (evaluation.task / "work").iterdir()
    before = contents(old)
    evaluation.endpoint.reset_counters()
    # when one benchmark starts over, and is interrupted in the middle
    with evaluation.project.started("--config", f"fresh={evaluation.name}") as snakemake:
        evaluation.wait_until(lambda: evaluation.answered >= SAMPLES // 3)
        assert not evaluation.is_published(), "an old result under a new evaluation"
        os.killpg(snakemake.pid, signal.SIGKILL)
    # and a plain start follows
    evaluation.project.snakemake().check()
    # then it continues the new folder, and the old one is kept as it was
    assert evaluation.questions == SAMPLES
    assert evaluation.asked_again <= PARALLELISM
    assert evaluation.endpoint.requests.total() == evaluation.asked_again + SAMPLES
    assert contents(old.with_name(f"{old.name}.1")) == before
    # and without the word nothing runs
    assert evaluation.project.snakemake("-n").planned == 0


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
