"""`snakeval watch` is killed in the middle of an evaluation, with a server of a real process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from deployed import Deployed, quiz, scripted

from rig.waiting import wait_until

SNAKEVAL = str(Path(sys.executable).with_name("snakeval"))


def test_watch_goes_on_after_it_was_killed_and_leaves_alone_what_went_on_without_it(
    project: Deployed,
) -> None:
    # given a watch that evaluates a checkpoint
    checkpoint = project.folder / "ckpt" / "step-1000"
    checkpoint.mkdir(parents=True)
    (checkpoint / "done").touch()
    server = scripted("--name step-1000")
    del server["served_model_name"]
    project.configure(
        server, [quiz(seed=1)], models=[{"checkpoints": str(project.folder / "ckpt" / "step-*")}]
    )
    project.file("hold").touch()
    watch = [SNAKEVAL, "watch", "--config", "my.yaml", "--marker", "done", "--once"]
    first = subprocess.Popen(
        watch,
        cwd=project.folder,
        env=project.variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: project.noted("asked") > 0)

    # when the watch alone is killed, its snakemake goes on, and the next watch leaves it to that
    first.kill()
    first.wait()
    said = project.run(*watch).check().output
    assert "being evaluated: step-1000" in said
    assert "evaluating step-1000" not in said

    # when that is killed too, a later watch evaluates the checkpoint, with one result
    os.killpg(first.pid, signal.SIGKILL)
    project.file("hold").unlink()
    wait_until(lambda: "being evaluated" not in project.run(*watch).check().output)
    assert [row["state"] for row in project.rows()] == ["published"]
    assert "evaluating" not in project.run(*watch).check().output
