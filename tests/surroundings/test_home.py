"""A home folder that cannot be written: a warning, and everything works."""

from __future__ import annotations

from pathlib import Path

from in_container import QUIZ, RETRIES, write

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import Project

NO_HOME = "/proc/no-home"
"""Not even root can make it."""


def test_without_a_home_there_is_a_warning_and_everything_works(
    tmp_path: Path, endpoint: ScriptedEndpoint, image: str | None
) -> None:
    project = Project(tmp_path, endpoint.chat_url, {"HOME": NO_HOME})
    write(project, f'echo "cache: $HF_HOME"; {QUIZ}', image)

    output = project.snakemake(*RETRIES).check().output

    assert f"the run is not listed in {NO_HOME}/.nv-eval/run_configs" in output
    assert project.rows()[0]["state"] == "published"
    log = (project.task("quiz") / "logs" / "evaluate.log").read_text()
    kept = project.run_folder / ".cache" / "huggingface"  # a container has a home of its own
    assert ("cache: \n" if image else f"cache: {kept}\n") in log
