"""A config with a login node, started where no Slurm is, over a real ssh and rsync."""

import json
from pathlib import Path

import pytest

from rig.built_runs import built_run, records
from rig.laptop import Laptop
from rig.pipeline import ROOT
from rig.ssh_server import HOST
from snakeval.executors.login import Login
from snakeval.remote.notes import Note

CONFIG = {
    "name": "${oc.env:MODEL_FAMILY,small}-models",
    "target": {
        "api_endpoint": {"url": "http://localhost:1/v1/chat/completions", "model_id": "m"},
    },
    "harnesses": {
        "own": {
            "kind": "command",
            "command": "cat {files}/questions.txt > ${HOME}/x; cp {files}/* {results}",
            "files": "mine",
            "tasks": {"sums": {"samples": 1}},
        }
    },
    "evaluation": {"tasks": ["own.sums"]},
}
SECRET = "sk-0123456789abcdefghijklmnop"


@pytest.fixture
def written(laptop: Laptop) -> Laptop:
    laptop.write(CONFIG)
    (laptop.here / "mine").mkdir()
    (laptop.here / "mine" / "questions.txt").write_text("1 + 1\n")
    (laptop.here / "mine" / ".env").write_text(SECRET)
    return laptop


def test_a_dry_run_brings_config_and_definitions_and_plans_them_there(written: Laptop) -> None:
    # when it is looked at first
    said = written.snakeval("run", "--config", "my.yaml", "-n", MODEL_FAMILY="large").check().output
    # then the plan is that of the login node, of the config as it is meant here
    assert "own.sums" in said or "sums" in said
    (config,) = written.there.glob("configs/my-*/config.yaml")
    assert "large-models" in config.read_text() and "${HOME}/x" in config.read_text()
    assert (config.parent / "files" / "own-files" / "questions.txt").read_text() == "1 + 1\n"
    # and nothing that may be secret has come along
    assert not list(config.parent.rglob(".env"))


def test_plain_snakemake_says_the_ssh_command(written: Laptop) -> None:
    snakemake = str(ROOT / ".venv" / "bin" / "snakemake")
    words = ["-s", str(ROOT / "Snakefile"), "--profile", str(ROOT / "profiles" / "slurm")]
    said = written.run(snakemake, *words, "--configfile", "my.yaml").refused().output
    assert "/my.yaml` brings it to login and starts it there" in said
    assert f"ssh {HOST} 'cd {written.there} && {ROOT}/.venv/bin/snakeval run --config" in said


def test_every_missing_variable_is_named_and_no_value_is_sent(written: Laptop) -> None:
    target = {"api_endpoint": {**CONFIG["target"]["api_endpoint"], "api_key_name": "MODEL_KEY"}}  # type: ignore[index]
    written.write({**CONFIG, "target": target, "env_vars": {"HF_TOKEN": "host:MY_TOKEN"}})
    variables = {"MODEL_KEY": SECRET, "MY_TOKEN": SECRET}
    # given that they are set here alone
    said = written.snakeval("run", "--config", "my.yaml", **variables).refused().output
    assert "the variable MODEL_KEY is not set there" in said
    assert "the variable MY_TOKEN is not set there" in said
    assert SECRET not in said and not (written.there / "configs").exists()
    # given a file there that others may read
    written.there.mkdir()
    env = written.there / ".env"
    env.write_text("MODEL_KEY=x\nMY_TOKEN=y\n")
    env.chmod(0o644)
    said = written.snakeval("run", "--config", "my.yaml", **variables).refused().output
    assert "chmod 600" in said and "is not set" not in said
    # given one of one's own
    env.chmod(0o600)
    written.snakeval("run", "--config", "my.yaml", "-n", **variables).check()
    assert not [path for path in written.there.rglob("*")
                if path.is_file() and SECRET in path.read_text(errors="replace")]  # fmt: skip


def test_without_a_clone_there_none_is_made_unasked(written: Laptop) -> None:
    written.write(CONFIG, login_clone=None)
    said = written.snakeval("run", "--config", "my.yaml").refused().output
    assert "there yet, and nothing was made" in said and "--yes" in said
    assert not written.there.exists()
    written.write(CONFIG, login_clone="/no/such/clone")
    said = written.snakeval("run", "--config", "my.yaml").refused().output
    assert "there is no clone /no/such/clone" in said


def test_what_ssh_says_is_told_in_a_sentence_and_nobody_is_asked(written: Laptop) -> None:
    server = written.server

    def refused() -> str:
        return written.snakeval("run", "--config", "my.yaml").refused().output

    server.knows(None)
    assert "login: its host key is not known to this machine" in refused()
    assert not (server.folder / "known_hosts").read_text()  # and it was not believed
    server.knows("stranger")
    assert "its host key is not the one that this machine knows" in refused()
    server.knows()
    server.has_key("stranger")
    said = refused()
    assert "login: does not let you in without asking" in said and "ssh-copy-id login" in said
    assert len([line for line in said.splitlines() if line.strip()]) <= 3
    server.has_key("user")
    (server.bin / "rsync").unlink()
    assert "rsync: is not on the PATH of this machine" in refused()
    (server.bin / "ssh").unlink()
    assert "ssh: is not on the PATH of this machine" in refused()


def test_a_full_or_forbidden_folder_there_is_told(written: Laptop) -> None:
    full = Path("/proc/sys/snakeval")  # nobody can make anything there
    written.write(CONFIG, login_folder=str(full))
    said = written.snakeval("run", "--config", "my.yaml").refused().output
    assert "copying failed" in said or "execution.login_folder" in said


def test_verbs_are_about_the_run_on_the_login_node(written: Laptop) -> None:
    # given a run there, and the note of its start here
    run = written.there / "results" / "2026-11-28-00-00-00-0123abcd"
    task = run / "sums"
    (task / "work" / "0123456789ab").mkdir(parents=True)
    (task / "work" / "0123456789ab" / "big").write_text("answers")
    (task / "logs").mkdir()
    (task / "logs" / "evaluate.1.log").write_text("hello from there\n")
    (task / "logs" / "evaluate.log").symlink_to("evaluate.1.log")
    (task / "task.yaml").write_text("name: sums\ndigest: 0123456789ab\n")
    (run / "run.json").write_text(json.dumps({"id": run.name, "tasks": ["sums"]}))
    (run / "results").mkdir()
    (run / "results" / "results.csv").write_text("task,score\n")
    login = {"target": HOST, "folder": str(written.there), "own": str(ROOT)}
    notes = written.here / "results" / "remote"
    notes.mkdir(parents=True)
    (notes / f"{run.name}.json").write_text(json.dumps({"login": login, "dir": str(run)}))
    # when it is asked about from here, by its beginning or as the latest one
    assert "sums" in written.snakeval("status").check().output
    said = written.snakeval("logs", "0123", "-t", "sums", "--no-follow").check().output
    assert "hello from there" in said
    assert run.name in written.snakeval("kill", "0123").output
    # and fetched, then it is here without its work folders
    said = written.snakeval("fetch").check().output
    here = notes / run.name
    assert f"results/remote/{run.name}" in said
    assert (here / "results" / "results.csv").exists() and (here / "sums" / "logs").is_dir()
    assert not (here / "sums" / "work").exists()


def test_results_on_the_login_node_are_compared_there_and_brought_by_snakemakes_words(
    written: Laptop,
) -> None:
    # given two runs there, and the notes of their starts here
    scores = {"before": [1, 1, 0, 1] * 5, "after": [1, 1, 1, 1] * 5}
    runs = [built_run(written.there, name, {"sums": records(scores[name])}) for name in scores]
    login = Login(HOST, str(written.there), str(ROOT))
    notes = written.here / "results"
    for run in runs:
        folder = str(run.paths.dir)
        Note(run.paths.id, login, folder, (), {}, notes).write()
    before, after = (run.paths.id[-8:] for run in runs)
    # when they are decided about from here, by a policy that is nowhere else
    (written.here / "strict.yaml").write_text(
        "description: Mine.\nothers: {max_drop: 0.01, level: critical}\n"
    )
    decided = written.snakeval("gate", before, after, "--policy", "strict.yaml")
    # then it is that policy's verdict, with its exit code
    assert "strict.yaml" in decided.output and "GO" in decided.output, decided.output
    assert decided.code == 0
    assert runs[0].paths.id in written.snakeval("ls", "runs").check().output
    # when Snakemake is asked about one, then it says what to type
    snakemake = str(ROOT / ".venv" / "bin" / "snakemake")
    words = (snakemake, "-s", str(ROOT / "Snakefile"), "--cores", "1")
    said = written.run(*words, "status", "--config", f"run={after}").refused().output
    assert f"{runs[1].paths.id}: is on {HOST}" in said
    assert f"`snakeval status {runs[1].paths.id}` asks there" in said
    # and brings it
    written.run(*words, "fetch", "--config", f"run={after}").check()
    assert (notes / "remote" / runs[1].paths.id / "results" / "results.csv").exists()
