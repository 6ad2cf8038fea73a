"""Starts from elsewhere: what is brought, what is told, which run is meant; and what a run that is
given to a job keeps."""

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.cli.front import main as front
from snakeval.cli.front.verb import elsewhere
from snakeval.config.load import load, merged
from snakeval.errors import InputError
from snakeval.executors.login import Login
from snakeval.executors.registry import executor
from snakeval.executors.slurm import scripts
from snakeval.executors.slurm import start as slurm_start
from snakeval.plan.code import code_digest
from snakeval.plan.make import continued, plan
from snakeval.remote import begin, notes, verbs
from snakeval.remote.parcel import parcel_of
from snakeval.remote.ssh import Connection, Said
from snakeval.start.begin import resolved_text
from snakeval.start.own_copy import copied

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
LOGIN = Login("me@login.example.org", "snakeval-runs")
CONFIG: dict[str, Any] = {
    "execution": {"type": "slurm", "hostname": "login.example.org", "username": "me"},
    "target": {"api_endpoint": {"url": "http://localhost:1/v1/chat/completions", "model_id": "m"}},
    "harnesses": {
        "own": {
            "kind": "command",
            "command": "cp {files}/* {results}; echo ${HOME}",
            "files": "mine",
            "tasks": {"sums": {"samples": 1}},
        }
    },
    "evaluation": {"tasks": ["own.sums"]},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "q.txt").write_text("1 + 1\n")
    write(CONFIG)
    return tmp_path


def write(content: dict[str, Any]) -> list[Path]:
    Path("my.yaml").write_text(yaml.safe_dump(content))
    return [Path("my.yaml")]


def test_only_a_machine_without_slurm_goes_to_the_login_node(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(["my.yaml"], {}).config
    assert executor("slurm").login_node(config) == LOGIN
    # on the login node itself it goes no further, also where Slurm is not on the PATH
    monkeypatch.setenv("SNAKEVAL_ON_LOGIN_NODE", "1")
    assert executor("slurm").login_node(config) is None
    monkeypatch.delenv("SNAKEVAL_ON_LOGIN_NODE")
    sbatch = here / "sbatch"
    sbatch.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(here))
    assert executor("slurm").login_node(config) is None
    assert executor("local").login_node(config) is None


@pytest.mark.parametrize(
    "given",
    [
        {"hostname": "-oProxyCommand=x"},
        {"hostname": "a b"},
        {"username": "-l"},
        {"login_folder": "$(x)"},
        {"login_folder": "-x"},
        {"login_clone": "relative"},
    ],
)
def test_no_word_of_the_config_is_an_option_or_a_command(here: Path, given: dict[str, str]) -> None:
    execution = {"type": "slurm", "hostname": "login", **given}
    with pytest.raises(InputError) as refused:
        load(write({**CONFIG, "execution": execution}), {})
    assert f"execution.{next(iter(given))}" in str(refused.value)


def test_a_parcel_means_there_what_it_means_here(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAMILY", "small${x}")
    name = "${oc.env:FAMILY}-${oc.env:NOT_SET,other}"
    files = write({**CONFIG, "name": name, "user": "${name}"})
    parcel = parcel_of(files, {"set": "[execution.account=a]"})
    brought = yaml.safe_load(parcel.text)
    assert brought["name"] == "small\\${x}-other" and brought["user"] == "${name}"
    assert brought["execution"]["account"] == "a"
    assert brought["harnesses"]["own"]["command"].endswith("${HOME}")
    assert brought["harnesses"]["own"]["files"] == "files/own-files"
    assert parcel.folders == {"own-files": here / "mine"}
    with parcel.packed() as place:
        assert (place / "files" / "own-files" / "data" / "q.txt").exists()
        assert merged([place / "config.yaml"], {}) == brought


def test_a_parcel_holds_no_secret_and_names_a_missing_folder(here: Path) -> None:
    with pytest.raises(InputError, match="nothing secret is sent"):
        parcel_of(write({**CONFIG, "allow_inline_secrets": True}), {})
    (here / "mine" / "data" / "q.txt").unlink()
    (here / "mine" / "data").rmdir()
    (here / "mine").rmdir()
    with pytest.raises(InputError, match=r"harnesses\.own\.files: there is no folder"):
        parcel_of(write(CONFIG), {})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Host key verification failed.", "its host key is not known"),
        ("me@x: Permission denied (publickey,password).", "does not let you in without asking"),
        ("ssh: Could not resolve hostname x: Name or service not known", "no host of that name"),
        ("ssh: connect to host x port 22: Connection timed out", "there is no connection"),
        ("rsync: write failed on x: No space left on device (28)", "its disk is full"),
        ("mkdir: cannot create x: Disk quota exceeded", "its disk is full"),
        ("bash: line 1: rsync: command not found", "has no rsync"),
        ("mkdir: cannot create directory 'x': Permission denied", "nothing can be written there"),
        ("what nobody knows", "copying failed: what nobody knows"),
    ],
)
def test_what_is_said_there_is_one_sentence_with_what_to_do(said: str, told: str) -> None:
    connection = Connection.__new__(Connection)
    connection.login = LOGIN
    problem = connection.problem(Said(1, ["a banner", said]), "copying")
    assert told in problem.what and problem.fix and "{" not in problem.fix


def test_everything_that_is_missing_there_is_told_at_once() -> None:
    found = begin.Found("", False, False, False, False, 12, ["KEY"], True)
    with pytest.raises(InputError) as refused:
        begin._refuse(LOGIN, found, dry_run=False)
    told = str(refused.value)
    for part in (
        "no rsync",
        "variable KEY is not set",
        "chmod 600",
        "Python 3.11",
        "no make",
        "12 MB",
    ):
        assert part in told, part


def test_a_run_is_meant_as_everywhere_by_its_beginning_its_config_or_as_the_latest(
    here: Path,
) -> None:
    folder = Path("results")
    for name in ("2026-11-27-00-00-00-aaaa1111", "2026-11-28-00-00-00-bbbb2222"):
        files = (str(here / f"{name[-8:]}.yaml"),)
        notes.Note(name, LOGIN, f"/there/{name}", files, {}, folder).write()

    def meant(named: str | None = None, *files: Path) -> list[str]:
        return [note.run[-8:] for note in notes.meant(named, files, {}, [folder])]

    assert (
        meant("2026-11-27") == meant("aaaa") == meant(None, Path("aaaa1111.yaml")) == ["aaaa1111"]
    )
    assert meant() == ["bbbb2222"]
    assert meant("nobody") == meant(None, Path("other.yaml")) == []
    with pytest.raises(InputError, match="several runs"):
        meant("2026")
    # a later run of this machine is the latest one
    (folder / "2026-11-29-00-00-00-cccc3333").mkdir()
    assert meant() == []


def test_runs_here_and_there_are_not_asked_about_in_one_go(here: Path) -> None:
    notes.Note("2026-11-27-00-00-00-aaaa1111", LOGIN, "/there", (), {}, Path("results")).write()
    given = Namespace(run=["aaaa", "bbbb"], config=[], output_dir=[], override=[])
    with pytest.raises(InputError, match="bbbb: is not one of the runs on a login node"):
        elsewhere(given)
    given.run = ["aaaa"]
    assert [note.run[-8:] for note in elsewhere(given)] == ["aaaa1111"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "aaaa", "-w"], "status A --output-dir /there --watch"),
        (["info", "aaaa"], "info A --output-dir /there"),
        (["report", "aaaa"], "report A --output-dir /there"),
        (["samples"], "samples B --output-dir /there"),
        (["export", "aaaa", "--dest", "mlflow"], "export A --output-dir /there --dest mlflow"),
        (["clean", "aaaa", "--yes"], "clean A --output-dir /there --yes"),
        (["compare", "aaaa", "bbbb"], "compare A B --output-dir /there"),
        (["gate", "aaaa", "bbbb", "--policy", "mine/strict.yaml"], 
         "gate A B --output-dir /there --policy configs/strict-*/strict.yaml"),
        (["leaderboard", "aaaa", "bbbb", "--columns", "x*"], 
         "leaderboard A B --output-dir /there --columns 'x*'"),
    ],
)  # fmt: skip
def test_a_verb_about_runs_on_a_login_node_is_said_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    # given two runs there, and a policy here
    a, b = "2026-11-27-00-00-00-aaaa1111", "2026-11-27-00-00-01-bbbb2222"
    for run in (a, b):
        notes.Note(run, LOGIN, f"/there/{run}", (), {}, Path("results")).write()
    (here / "mine" / "strict.yaml").write_text("description: x\n")
    scripts: list[str] = []
    monkeypatch.setattr(verbs.Connection, "__init__", lambda self, login: None)
    monkeypatch.setattr(verbs.Connection, "bring", lambda self, sources, folder: None)
    monkeypatch.setattr(verbs.Connection, "hand_over", lambda _, each: scripts.append(each) or 0)
    # when somebody asks from here
    assert front.main(words) == 0
    # then the same words are said there
    heard = re.sub(r"strict-\w{8}", "strict-*", scripts[0].partition("bin/snakeval ")[2])
    assert heard == said.replace("A", a).replace("B", b)


def test_two_runs_of_which_one_is_elsewhere_are_not_compared(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = "2026-11-27-00-00-00-aaaa1111"
    notes.Note(there, LOGIN, f"/there/{there}", (), {}, Path("results")).write()
    assert front.main(["gate", "cccc", "aaaa"]) == 1
    said = capsys.readouterr().err
    assert f"cccc: is on this machine, and {there} is on {LOGIN.target}" in said
    # nor are runs of two login nodes
    other = Login("other.example.org", "snakeval-runs")
    notes.Note("2026-11-27-00-00-01-bbbb2222", other, "/x", (), {}, Path("results")).write()
    assert front.main(["compare", "aaaa", "bbbb"]) == 1
    # when it was brought here with all that is in it, it is a run of this machine
    assert f"rsync -a {LOGIN.target}:/there/{there} results/" in said
    (here / "results" / there).mkdir()
    assert not elsewhere(Namespace(run=["aaaa"], config=[], output_dir=[], override=[]))


def test_a_run_is_asked_about_with_the_code_that_it_began_with(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = Login("login", "snakeval-runs")
    wish = begin.Wish([Path("my.yaml")], {}, [], False, lambda _: True)
    (note,) = begin._noted(["/there/2026-11-27-00-00-00-aaaa1111"], login, wish)
    began = note.login.snakeval
    monkeypatch.setattr("snakeval.executors.login.code_digest", lambda: "00000000")
    assert note.login.snakeval == began != login.snakeval


def test_a_sweep_over_folders_of_the_cluster_is_started_there(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = {"models": [{"checkpoints": "/lustre/nowhere/step-*"}]}
    write({**CONFIG, **sweep, "deployment": {"type": "vllm"}, "target": {}})
    assert front.main(["run", "--config", "my.yaml"]) == 1
    said = capsys.readouterr().err
    assert "there is no folder /lustre/nowhere/step-*" in said
    assert "where the folders are on login.example.org, start it there (`ssh login" in said
    assert front.main(["watch", "--once", "--config", "my.yaml"]) == 0
    assert "where they are on login.example.org, start it there" in capsys.readouterr().out


class Log:
    def __init__(self) -> None:
        self.told: list[str] = []

    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None:
        self.told.append(message)


def test_a_run_that_is_given_to_a_job_keeps_its_definition_files(here: Path) -> None:
    (run,) = plan(write(CONFIG), {}, CATALOGUE)
    run.paths.dir.mkdir(parents=True)
    log = Log()
    text = resolved_text(run, copied(run, log))
    run.paths.config.write_text(text)
    # when the files are edited, and the job plans the run from its folder
    (here / "mine" / "data" / "q.txt").write_text("2 + 2\n")
    (again,) = continued([run.paths.dir], {}, CATALOGUE)
    # then it is the spec of the start, with the files of the start
    assert again.tasks[0].digest == run.tasks[0].digest
    kept = again.tasks[0].benchmark.folder("record/definitions")
    assert kept and [path.read_text() for path in kept.rglob("q.txt")] == ["1 + 1\n"]
    # and what that start writes has no absolute path of the run folder
    assert resolved_text(again, copied(again, log)) == text
    assert not log.told


def test_what_cannot_be_copied_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = plan(write(CONFIG), {}, CATALOGUE)
    log = Log()
    (here / "mine" / "a.yaml").write_text("include: ../shared.yaml\n")
    assert copied(run, log) == {} and "refers to files beside it" in log.told[0]
    monkeypatch.setattr("snakeval.start.own_copy.LARGEST", 3)
    assert copied(run, log) == {} and "is large" in log.told[1]


def test_a_clone_that_has_changed_since_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not slurm_start._other_code()
    monkeypatch.setenv(scripts.CODE, code_digest())
    assert not slurm_start._other_code()
    monkeypatch.setenv(scripts.CODE, "00000000")
    (told,) = slurm_start._other_code()
    assert told.warning and "has changed since this run was given to a job" in told.what
