"""Images at a real start: brought here once, however many models share them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.executors.profile import Profile
from snakeval.executors.registry import executor
from snakeval.plan.make import plan
from snakeval.runtime.podman import Podman
from snakeval.start import checks
from snakeval.start.begin import begin
from snakeval.start.this_start import ThisStart

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
DIGEST = "sha256:" + "a" * 64
PODMAN = """#!/usr/bin/env bash
# Counts pulls; knows an image once it was pulled.
here=$(dirname "$0")
case "$1 $2" in
    'image inspect')
        grep -qxF "${3%@*}" "$here/pulled" 2>/dev/null || exit 125
        printf '[{"Id": "1", "RepoDigests": ["%s@DIGEST"], "Config": {}}]' "${3%:*}" ;;
    pull*) echo "${@: -1}" >>"$here/pulled" ;;
esac
""".replace("DIGEST", DIGEST)


@pytest.mark.parametrize("update", [False, True])
def test_models_of_a_sweep_share_images_that_are_pulled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: bool
) -> None:
    # given three models with one server's image and one benchmark's, and an engine that has none
    engine = tmp_path / "bin" / "podman"
    engine.parent.mkdir()
    engine.write_text(PODMAN)
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(engine.parent), prepend=":")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    server: dict[str, Any] = {"type": "generic", "image": "r.io/server:1", "command": "serve"}
    content = {
        "execution": {"output_dir": "out", "min_free_gb": 0},
        "deployment": {**server, "gpus": "none"},
        "models": [{"deployment": {"served_model_name": name}} for name in "abc"],
        "evaluation": {"tasks": [{"name": "gsm8k_cot_instruct", "container": "r.io/eval:1"}]},
    }
    Path("my.yaml").write_text(yaml.safe_dump(content))
    runs = plan([Path("my.yaml")], {"update_images": update}, CATALOGUE)
    asked = {task: "podman" for run in runs for task in run.tasks}
    start = ThisStart("start", runs, asked, executor("local"), Profile(), logging.getLogger())
    # when they are started
    for hold in begin(start):
        hold.release()
    # then every run has both pinned, and each was pulled once
    pulled = (engine.parent / "pulled").read_text().split()
    assert sorted(pulled) == ["r.io/eval:1", "r.io/server:1"]
    for run in runs:
        assert json.loads(run.paths.record.read_text())["images"] == {
            "r.io/eval:1": f"r.io/eval@{DIGEST}",
            "r.io/server:1": f"r.io/server@{DIGEST}",
        }
        assert f"image=r.io/server@{DIGEST}" in run.paths.server("model").script.read_text()


def test_no_image_is_brought_to_a_machine_whose_jobs_run_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a login node whose engine has one of two images
    engine = tmp_path / "bin" / "podman"
    engine.parent.mkdir()
    engine.write_text(PODMAN)
    engine.chmod(0o755)
    pulled = engine.parent / "pulled"
    pulled.write_text("r.io/here:1\n")
    monkeypatch.setenv("PATH", str(engine.parent), prepend=":")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tasks = [
        {"name": name, "container": f"r.io/{image}:1"}
        for name, image in {"gsm8k_cot_instruct": "here", "mmlu_instruct": "far"}.items()
    ]
    content = {
        "execution": {"output_dir": "out", "min_free_gb": 0},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "evaluation": {"tasks": tasks},
    }
    Path("my.yaml").write_text(yaml.safe_dump(content))
    runs = plan([Path("my.yaml")], {}, CATALOGUE)
    asked = {task: "podman" for run in runs for task in run.tasks}
    start = ThisStart("start", runs, asked, executor("slurm"), Profile(), logging.getLogger())
    monkeypatch.setattr(checks, "against", lambda _: [])  # nobody answers at http://h
    # when it is started
    for hold in begin(start):
        hold.release()
    # then nothing was pulled, and the one that is here is pinned
    assert pulled.read_text() == "r.io/here:1\n"
    assert json.loads(runs[0].paths.record.read_text())["images"] == {
        "r.io/here:1": f"r.io/here@{DIGEST}"
    }


def test_name_that_means_another_image_by_now_is_told_and_the_run_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # given a run that has begun with one image, and an engine where the name means another one
    engine = tmp_path / "bin" / "podman"
    engine.parent.mkdir()
    begun = f"r.io/eval@sha256:{'b' * 64}"
    engine.write_text(PODMAN.replace('"Id": "1"', '"Id": "\'"${#3}"\'"'))  # another for each word
    engine.chmod(0o755)
    (engine.parent / "pulled").write_text("r.io/eval:1\nr.io/eval\n")
    monkeypatch.setenv("PATH", str(engine.parent), prepend=":")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    content = {
        "execution": {"output_dir": "out", "min_free_gb": 0},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "evaluation": {"tasks": [{"name": "gsm8k_cot_instruct", "container": "r.io/eval:1"}]},
    }
    Path("my.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr(checks, "against", lambda _: [])  # nobody answers at http://h

    def start() -> str:
        (run,) = plan([Path("my.yaml")], {}, CATALOGUE)
        asked = dict.fromkeys(run.tasks, "podman")
        made = ThisStart("s", (run,), asked, executor("local"), Profile(), logging.getLogger())
        caplog.clear()
        for hold in begin(made):
            hold.release()
        return str(json.loads(run.paths.record.read_text())["images"]["r.io/eval:1"])

    start()
    assert "another one by now" not in caplog.text  # nothing was begun before
    (record,) = Path("out").glob("*/run.json")
    record.write_text(record.read_text().replace(f"r.io/eval@{DIGEST}", begun))
    monkeypatch.setattr(Podman, "pin", lambda *_: begun)
    # when it is started again
    assert start() == begun
    # then it is told, with what to do
    assert "image r.io/eval:1 is another one by now" in caplog.text
    assert "update_images=true" in caplog.text
