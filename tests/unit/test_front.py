"""`snakeval`: the verbs, what is told of a mistake in them, and the snakemake command of `run`."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rig.built_runs import built_run, records
from snakeval.cli.front import main as front
from snakeval.cli.front.overrides import as_values
from snakeval.config.overrides import parse_overrides
from snakeval.errors import InputError

ROOT = Path(__file__).parents[2]
CONFIG = {
    "target": {"api_endpoint": {"url": "http://localhost:1/v1/chat/completions", "model_id": "m"}},
    "evaluation": {"tasks": ["ifeval"]},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `my.yaml`, and a home that knows no runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Path("my.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def test_every_verb_is_there_and_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    for name, entry in front.VERBS.items():
        with pytest.raises(SystemExit) as ended:
            front.main([name, "--help"])
        assert ended.value.code == 0, name
        assert entry.says in " ".join(capsys.readouterr().out.split()), name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["statsu"], "there is no verb 'statsu'; did you mean 'status'?"),
        (["ls", "runz"], "did you mean 'runs'?"),
        (["run", "--confg", "my.yaml"], "did you mean '--config'"),
        (["run"], "which config?"),
        (["run", "--config", "mine.yaml"], "did you mean 'my.yaml'?"),
        (["run", "--config", "my.yaml", "-o", "limit_samples"], "is not key=value"),
        (["run", "--config", "tab.yaml"], "tab.yaml, line 2, column 1: is a tab"),
        (["status"], "there is no run yet"),
        (["status", "--output-dir", "nowhere"], "nowhere: there is no such folder"),
        (["run", "my.yaml"], "snakeval run --config my.yaml"),
        (["run", "--config", "my.yaml", "--profile", "slrum"], "did you mean 'slurm'?"),
        (["run", "--config", "my.yaml", "-o", "limit_sample=3"], "did you mean 'limit_samples'"),
        (["kill"], "snakeval kill <id or its beginning>"),
        (["status", "nope"], "run: there is no run 'nope'"),
        (["export", "2026", "--dest", "mlfow"], "did you mean 'mlflow'?"),
    ],
)
def test_a_mistake_is_told_in_one_sentence_with_the_near_word(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    Path("tab.yaml").write_text("target:\n\tapi_endpoint: {}\n")

    try:
        code = front.main(words)
    except SystemExit as ended:
        code = int(str(ended.code))

    said = capsys.readouterr().err
    assert code in (1, 2)
    assert told in said
    assert len(said.splitlines()) <= 2


def test_info_says_what_a_run_is_and_where_everything_of_it_is(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = built_run(here, "nightly", {"quiz": records([1, 0])}, labels={"quiz": "sums"})

    capsys.readouterr()
    code = front.main(["info", run.paths.id[-8:], "--output-dir", str(here / "out")])

    said = capsys.readouterr().out.splitlines()
    assert code == 0
    assert said[0] == run.paths.id
    assert f"{'folder:':<12} {run.paths.dir}" in said
    assert f"{'tables:':<12} {run.paths.results_csv}" in said
    assert not [line for line in said if line.startswith("report:")]  # there is none yet
    assert "sums: published" in said
    assert f"    {run.tasks[0].paths.artifacts}" in said


def test_run_stands_for_a_snakemake_command_that_reads_the_same_config(here: Path) -> None:
    words = _command("-o", "target.api_endpoint.model_id=m2", "-o", "limit_samples=10", "--dry-run",
                     "-t", "ifeval", "--", "--cores", "8")  # fmt: skip

    assert words == [
        *("snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n"),
        *("--profile", str(ROOT / "profiles" / "local"), "--cores", "8", "--configfile", "my.yaml"),
        *("--config", "limit_samples=10", "set=[target.api_endpoint.model_id=m2]", "tasks=ifeval"),
    ]


def test_profile_is_the_one_that_the_config_asks_for(here: Path) -> None:
    config = {**CONFIG, "execution": {"type": "slurm"}}
    Path("my.yaml").write_text(yaml.safe_dump(config))

    assert str(ROOT / "profiles" / "slurm") in _command()
    Path("mine").mkdir()
    Path("mine", "config.yaml").write_text("jobs: 1\n")
    assert "mine" in _command("--profile", "mine")


def _command(*words: str) -> list[str]:
    """What `snakeval run` shows before snakemake takes its place: tried in a process of its own."""
    code = (
        "import os, sys; os.execv = lambda *_: sys.exit(0);"
        "from snakeval.cli.front import main; sys.exit(main.main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "run", "--config", "my.yaml", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return shlex.split(ended.stderr.removeprefix("$ "))


def test_overrides_arrive_as_they_were_typed() -> None:
    values = as_values(
        ["+a.b=x, y", 'a.c=say "1, 2"', "a.d=[1, 2]", "a.e=", "tasks=one,two", "a.e=5"]
    )

    assert dict(parse_overrides(values, []).assignments) == {
        "a.b": "x, y",
        "a.c": 'say "1, 2"',
        "a.d": [1, 2],
        "a.e": 5,
    }
    assert parse_overrides(values, []).tasks == ("one", "two")


def test_all_wrong_overrides_are_told_at_once() -> None:
    with pytest.raises(InputError) as refused:
        as_values(["~a.b", "limit"])

    assert len(refused.value.problems) == 2
