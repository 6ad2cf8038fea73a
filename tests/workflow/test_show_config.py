"""show_config: what a config comes to, byte for byte the same each time; it creates nothing."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from quiz_project import quiz, target_command, write

from rig.pipeline import ROOT, SUMS, Project, nemo_sums

LAUNCHER = sorted((ROOT / "tests" / "unit" / "data" / "launcher").glob("*.yaml"))
SCRIPT = ROOT / "scripts" / "show_config.py"


def shown(project: Project, *, seed: str, cwd: Path, files: list[Path], as_json: bool) -> str:
    """The output of the script that the rule calls, in a process of its own."""
    cwd.mkdir(exist_ok=True)
    values = json.dumps({"as": "json"} if as_json else {})
    words = [sys.executable, str(SCRIPT), "--values", values]
    words += [word for file in files for word in ("--configfile", str(file))]
    command = f"cd {shlex.quote(str(cwd))} && PYTHONHASHSEED={seed} {shlex.join(words)}"
    return project.run("bash", "-c", command).check().output


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_same_config_gives_the_same_bytes_anywhere(
    project: Project, tmp_path: Path, as_json: bool
) -> None:
    write(project, [quiz(seed=1), SUMS, nemo_sums()], env_vars={"B": "lit:b", "A": "host:HOME"})
    for files in ([project.config], [LAUNCHER[0]], [LAUNCHER[-1]]):
        first, second = (
            shown(project, seed=seed, cwd=tmp_path / folder, files=files, as_json=as_json)
            for seed, folder in (("1", "here"), ("4242", "there"))
        )

        assert first == second
        assert first.strip()
    assert list((tmp_path / "here").iterdir()) == list((tmp_path / "there").iterdir()) == []


def test_target_shows_every_task_and_creates_nothing(project: Project) -> None:
    write(project, [quiz(seed=1), nemo_sums()])
    command = target_command(project, "show_config")

    ended = project.run("bash", "-c", f"{shlex.join(command)} 2>/dev/null").check()

    # then stdout has the config and what would be run, and nothing of Snakemake's
    script = [sys.executable, str(SCRIPT), "--configfile", "my.yaml"]
    assert ended.output == project.run(*script).check().output
    for text in ("# --- quiz: own.quiz (", "# command.sh:", "python3 ", "# run_config.yaml:",
                 "# image: snakeval-test/nemo-eval:26.03", "model_id: test-model"):  # fmt: skip
        assert text in ended.output
    assert sorted(path.name for path in project.folder.iterdir()) == [
        ".snakemake",  # Snakemake's own
        "home",
        "my.yaml",
    ]
    assert not (project.folder / "home" / ".nv-eval").exists()


def test_dry_run_names_it(project: Project) -> None:
    write(project, [quiz()])

    assert "`snakemake show_config` (same flags) shows" in project.snakemake("-n").check().output


def test_a_servers_command_mounts_and_batch_script_are_shown(
    project: Project, tmp_path: Path
) -> None:
    ray = next(path for path in LAUNCHER if path.stem == "slurm_vllm_ray")

    said = shown(project, seed="1", cwd=tmp_path / "here", files=[ray], as_json=False)

    assert "# --- server model: vllm_ray for m" in said
    for text in ("#   /m:/checkpoint:ro", "# command:", "--distributed-executor-backend ray"):
        assert text in said
    for text in ("#   #SBATCH -A a", "# resources:"):
        assert text in said
