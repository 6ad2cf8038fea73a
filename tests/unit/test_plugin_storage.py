"""Where this machine and the jobs see the same storage, and what is copied when they do not."""

from pathlib import Path

import pytest

from snakemake_executor_plugin_lepton import storage
from snakemake_executor_plugin_lepton.storage import Staging, mount_for, parse_mounts, seen_in_job

SAME = parse_mounts("node-nfs:fs1:/a:/shared")
OTHER = parse_mounts("node-nfs:fs1:/a:/work node-nfs:fs2:/:/data", storage="/mnt/fs1")


def test_without_a_word_the_storage_is_at_the_same_place_on_both_sides() -> None:
    assert seen_in_job(Path("/shared/x/y"), SAME) == "/shared/x/y"
    assert seen_in_job(Path("/sharedx"), SAME) is None
    assert storage.translated("cat /shared/x > /shared/y", SAME) == "cat /shared/x > /shared/y"


def test_at_another_place_paths_are_those_of_the_jobs() -> None:
    assert seen_in_job(Path("/mnt/fs1/x"), OTHER) == "/work/x"
    assert seen_in_job(Path("/data/x"), OTHER) == "/data/x"
    assert storage.translated("bash /mnt/fs1/r/run.sh '/mnt/fs1'", OTHER) == (
        "bash /work/r/run.sh '/work'"
    )


@pytest.mark.parametrize("other", ["/mnt/fs10/x", "/mnt/fs1.old", "x/mnt/fs1/y", "/mnt/fs1-b"])
def test_paths_that_only_look_alike_stay(other: str) -> None:
    assert storage.translated(f"cat {other}", OTHER) == f"cat {other}"


def test_json_says_for_each_mount_where_it_is_here() -> None:
    (mount,) = parse_mounts(
        '[{"from": "node-nfs:fs1", "path": "/a", "mount_path": "/w", "here": "/mnt/x"}]'
    )
    assert seen_in_job(Path("/mnt/x/f"), (mount,)) == "/w/f"
    assert mount.body() == {"from": "node-nfs:fs1", "path": "/a", "mount_path": "/w"}


def test_a_folder_of_the_storage_can_be_shown_at_another_place_too() -> None:
    found = mount_for(Path("/mnt/fs1/data/set"), "/datasets", OTHER)
    assert found and found.body() == {
        "from": "node-nfs:fs1",
        "path": "/a/data/set",
        "mount_path": "/datasets",
    }
    assert mount_for(Path("/home/me"), "/datasets", OTHER) is None


def test_files_elsewhere_are_brought_and_fetched(tmp_path: Path) -> None:
    work, folder = tmp_path / "work", tmp_path / "storage" / "job"
    (work / "in").mkdir(parents=True)
    (work / "in" / "a.txt").write_text("a")
    staging = Staging(work, folder)

    staging.bring(["in/a.txt", "in"], ["out/b.txt", "out/folder"])
    assert (folder / "in" / "a.txt").read_text() == "a"
    (folder / "out" / "b.txt").write_text("b")
    (folder / "out" / "folder").mkdir()
    (folder / "out" / "folder" / "c").write_text("c")
    staging.fetch(["out/b.txt", "out/folder", "out/missing"])

    assert (work / "out" / "b.txt").read_text() == "b"
    assert (work / "out" / "folder" / "c").read_text() == "c"
    assert sorted(path.name for path in (work / "out").iterdir()) == ["b.txt", "folder"]
    staging.remove()
    assert not folder.exists()


def test_an_output_that_is_seen_late_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(storage.time, "sleep", lambda _: (tmp_path / "job" / "out").write_text("x"))
    Staging(tmp_path / "work", tmp_path / "job").fetch(["out"], latency=60)
    assert (tmp_path / "work" / "out").read_text() == "x"


def test_outputs_of_an_earlier_attempt_are_not_taken_for_new_ones(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "work", tmp_path / "job")
    (tmp_path / "job" / "out").mkdir(parents=True)
    (tmp_path / "job" / "out" / "b").write_text("old")
    staging.bring([], ["out/b"])
    staging.fetch(["out/b"])
    assert not (tmp_path / "work" / "out" / "b").exists()


def test_a_copy_that_is_not_the_original_is_not_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("whole")
    monkeypatch.setattr(storage.shutil, "copy2", lambda _, target: target.write_text("who"))
    with pytest.raises(OSError, match="is not what"):
        storage.copy(tmp_path / "a", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
