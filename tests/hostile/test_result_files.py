"""Whatever a harness leaves is read as hostile: a failed check within seconds, and nothing of
anybody else is read, opened or written."""

import json
import os
import socket
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rig.promised import promised
from snakeval.harness.nemo import CACHES, STALE
from snakeval.job import answer_cache, attempt, hostile, verify
from snakeval.results.sample_formats import read_samples
from snakeval.runs.clean import size_of

SECONDS = 8.0


def checked(work: Path, **spec: Any) -> str:
    """The cause of the failed check."""
    with promised(SECONDS), pytest.raises(verify.CheckFailed) as failed:
        verify.check(work, {"benchmark": "t", **spec})
    return failed.value.cause


def nemo(value: str) -> str:
    scores = f"results: {{tasks: {{t: {{metrics: {{m: {{scores: {{s: {{value: {value}}}}}}}}}}}}}}}"
    return f"config: {{}}\n{scores}\ntarget: {{}}\n"


# --- no regular file -----------------------------------------------------------------------------


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_a_fine_result(path: Path) -> None:
    outside = path.parent.parent / "outside"
    outside.write_text('{"scores": {"a": 1}}')
    path.symlink_to(outside)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [pipe, link, link_to_a_fine_result, listening, folder])
@pytest.mark.parametrize(
    ("form", "name"),
    [("scores", "r.json"), ("lm_eval", "results_9.json"), ("nemo", "results.yml")],
)
def test_only_a_regular_file_is_a_result(
    tmp_path: Path, make: Callable[[Path], None], form: str, name: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    make(work / name)

    cause = checked(work, format=form, results=name)

    assert "regular file" in cause or "without a result file" in cause


def test_a_file_that_becomes_a_link_while_it_is_looked_at_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    result, elsewhere = tmp_path / "work" / "scores.json", tmp_path / "elsewhere"
    for file in (result, elsewhere):
        file.write_text("{}")
    look = os.stat

    def exchanged_after(path: Any, **options: Any) -> os.stat_result:
        found = look(path, **options)
        if path == "scores.json":
            result.unlink()
            result.symlink_to(elsewhere)
        return found

    monkeypatch.setattr(os, "stat", exchanged_after)
    with pytest.raises(hostile.Refused, match="a link"):
        hostile.read(tmp_path / "work", "scores.json")
    assert result.is_symlink()


def test_no_folder_on_the_way_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "r.json").write_text('{"scores": {"a": 1}}')
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "out").symlink_to("../outside")

    assert "leads through a link" in checked(
        tmp_path / "work", format="scores", results="out/r.json"
    )


@pytest.mark.parametrize("name", [".nemo_evaluator_server_error", ".nemo_evaluator_interrupted"])
def test_a_marker_that_is_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)

    assert checked(tmp_path, format="nemo")


def test_samples_are_read_from_regular_files_only(tmp_path: Path) -> None:
    (tmp_path / "private").write_text('{"id": 1, "score": 1}\n')
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "samples.jsonl").symlink_to("../private")

    with pytest.raises(verify.CheckFailed, match="regular file"):
        list(read_samples("scores", tmp_path / "work", "samples.jsonl"))


# --- bombs ---------------------------------------------------------------------------------------


def aliases(work: Path) -> dict[str, str]:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (work / "results.yml").write_text("\n".join(lines) + "\n" + nemo("*a8"))
    return {"format": "nemo"}


def merges(work: Path) -> dict[str, str]:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 9)]
    (work / "results.yml").write_text("\n".join(lines) + "\n" + nemo("1"))
    return {"format": "nemo"}


def nested_yaml(work: Path) -> dict[str, str]:
    (work / "results.yml").write_text(nemo("[" * 10_000 + "]" * 10_000))
    return {"format": "nemo"}


def a_command(work: Path) -> dict[str, str]:
    call = f'!!python/object/apply:os.system ["touch {work}/called"]'
    (work / "results.yml").write_text(nemo(call))
    return {"format": "nemo"}


def a_long_number_in_yaml(work: Path) -> dict[str, str]:
    (work / "results.yml").write_text(nemo("1" + "0" * 200_000))
    return {"format": "nemo"}


def nested_json(work: Path) -> dict[str, str]:
    (work / "r.json").write_text('{"scores":' + "[" * 200_000 + "]" * 200_000 + "}")
    return {"format": "scores", "results": "r.json"}


def a_long_number(work: Path) -> dict[str, str]:
    (work / "r.json").write_text('{"scores": {"a": 1' + "0" * 400 + "}}")
    return {"format": "scores", "results": "r.json"}


def a_huge_file(work: Path) -> dict[str, str]:
    with (work / "r.json").open("wb") as file:
        file.truncate(10**12)  # takes no room
    return {"format": "scores", "results": "r.json"}


def other_types(work: Path) -> dict[str, str]:
    (work / "results_1.json").write_text(
        '{"results": {"t": 3}, "n-samples": {"t": {"original": []}}}'
    )
    return {"format": "lm_eval"}


@pytest.mark.parametrize(
    "make",
    [aliases, merges, nested_yaml, a_command, a_long_number_in_yaml, nested_json, a_long_number,
     a_huge_file, other_types],
)  # fmt: skip
def test_a_bomb_is_a_failed_check_within_seconds(
    tmp_path: Path, make: Callable[[Path], dict[str, str]]
) -> None:
    cause = checked(tmp_path, **make(tmp_path))

    assert len(cause) < 500
    assert not (tmp_path / "called").exists()


def test_a_tree_of_folders_without_end_is_a_failed_check(tmp_path: Path) -> None:
    Path(tmp_path, *["d"] * 200).mkdir(parents=True)

    assert "folders in each other" in checked(tmp_path, format="lm_eval")


# --- databases -----------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "work" / answer_cache.RESPONSES
    path.parent.mkdir(parents=True)
    return path


def made(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


ENDLESS = "with recursive r(key) as (select 1 union all select key + 1 from r)"


def test_a_view_without_end_in_a_cache_is_not_counted(cache: Path) -> None:
    made(cache, f"create view Cache as {ENDLESS} select key, 'x' as value, null as filename from r")

    with promised(SECONDS):
        assert verify.progress(cache.parents[2], {"format": "nemo", "cached": True}) is None


def test_a_file_beside_a_cache_is_looked_for_in_the_work_folder_only(cache: Path) -> None:
    (cache.parents[3] / "private").write_text("private")
    made(cache, "create table Cache (key, value, filename)",
         "insert into Cache values ('k', null, '../../../private')")  # fmt: skip

    with pytest.raises(hostile.Refused):
        list(answer_cache.rows(cache.parents[2], answer_cache.RESPONSES))


@pytest.mark.parametrize("end", ["-journal", "-wal"])
def test_forgetting_errors_writes_through_no_link(cache: Path, end: str) -> None:
    victim = cache.parents[3] / "victim"
    victim.write_text("mine")
    made(cache, "create table Cache (key, value, filename)",
         """insert into Cache values ('k', '{"error": 1}', null)""")  # fmt: skip
    cache.with_name(f"cache.db{end}").symlink_to(victim)

    verify.forget_errors(cache.parents[2], {"format": "nemo"}, unparsed=1)

    assert victim.read_text() == "mine"


# --- what an attempt did not write ---------------------------------------------------------------


def test_a_declared_name_is_no_pattern(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for name in ("out[1].json", "out1.json", "new\nline.json"):
        (work / name).write_text("{}")

    attempt.put_aside(work, ["out[1].json", "new\nline.json"], tmp_path / "aside")

    assert [path.name for path in work.iterdir()] == ["out1.json"]
    assert {path.name for path in (tmp_path / "aside").iterdir()} == {
        "out[1].json",
        "new\nline.json",
    }


def test_putting_aside_moves_nothing_of_anybody_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "r.json").write_text("mine")
    work = tmp_path / "work"
    work.mkdir()
    (work / "out").symlink_to("../outside")
    (work / "results_link.json").symlink_to(outside / "r.json")

    attempt.put_aside(work, ["out/r.json", "**/results_*.json"], tmp_path / "aside")

    assert (outside / "r.json").read_text() == "mine"
    assert list(work.iterdir()) == []


def test_only_caches_of_answers_stay_for_the_next_attempt(tmp_path: Path) -> None:
    """A harness's own memory takes what failed for an answer (bfcl, hle, AA-LCR, scicode)."""
    work, aside = tmp_path / "work", tmp_path / "aside"
    for name in (
        *("cache/responses/cache.db", "response_stats_cache/cache.db", "lm_cache_rank0.db"),
        *("model/result.json", "model/deep/results_1.json", "judged.jsonl", ".hidden"),
        *("cache/cache.db", "cache/model_Scenario.json", "cache/ab/cd/judged.val"),
    ):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    (work / "link").symlink_to("/etc")

    attempt.put_aside(work, [*STALE, *(f"!{name}" for name in CACHES)], aside)

    stayed = sorted(path.name for path in work.iterdir())
    assert stayed == ["cache", "lm_cache_rank0.db", "response_stats_cache"]
    assert [path.name for path in (work / "cache").iterdir()] == ["responses"]
    assert (work / "cache/responses/cache.db").is_file()
    assert (aside / "cache/ab/cd/judged.val").is_file()
    assert (aside / "model/deep/results_1.json").is_file() and (
        aside / "model/result.json"
    ).is_file()
    assert (aside / "link").is_symlink()


# --- what it leaves armed ------------------------------------------------------------------------


def test_set_uid_files_are_told_and_made_harmless(tmp_path: Path) -> None:
    armed = tmp_path / "deep" / "su\n"
    armed.parent.mkdir()
    armed.write_text("#!/bin/sh\n")
    armed.chmod(0o4755)

    told = hostile.disarm(tmp_path)

    assert told == ["'deep/su\\n' was a set-uid or set-gid file: it is none any more"]
    assert stat.S_IMODE(armed.stat().st_mode) == 0o755


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes devices")
def test_devices_are_told_and_removed(tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))

    assert hostile.disarm(tmp_path) == ["'null' was a device: removed"]
    assert not (tmp_path / "null").exists()


def test_sizes_are_taken_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "loop").symlink_to(tmp_path / "work")
    (tmp_path / "work" / "root").symlink_to("/")

    assert size_of(tmp_path / "work") < 10_000


# --- the mark ------------------------------------------------------------------------------------


def test_a_mark_in_the_work_folder_publishes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "task" / "work" / "d"
    (work / "snakeval").mkdir(parents=True)
    (work / "snakeval" / "complete").touch()
    (work / "snakeval" / "check.json").write_text(json.dumps({"passed": True, "files": {}}))
    given = attempt.parser().parse_args(["publish", str(tmp_path / "task"), "d"])

    assert given.run(given) == 1

    assert "no result that was checked" in capsys.readouterr().out
    assert not (tmp_path / "task" / "published").exists()
