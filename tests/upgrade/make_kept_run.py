"""Makes a run folder to be kept: what this version of snakeval leaves, for later ones to read.

    PYTHONPATH=tests python tests/upgrade/make_kept_run.py tests/upgrade/kept/VERSION

It evaluates one benchmark of each kind of harness against the scripted endpoint (a Docker engine
and the evaluation image are needed), removes the caches with `snakemake clean`, and replaces what
is about this machine in the texts: paths, host, port. Kept folders are never made again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from rig.docker_engine import engine_for_session
from rig.endpoint import ScriptedEndpoint
from rig.image import BENCHMARK, ensure_nemo_image
from rig.pipeline import ROOT, Project, nemo_sums

QUIZ = ROOT / "config" / "examples" / "own_benchmark" / "ask"
HARNESSES = {
    "own": {
        "kind": "command",
        "files": "ask",
        "command": "python3 {files}/ask.py --questions {files}/questions.jsonl --url {url} "
        "--model {model_id} --limit {limit_samples} --answers {results}/answers.jsonl "
        "--samples {results}/samples.jsonl --out {results}/scores.json",
        "results": "scores.json",
        "samples": "samples.jsonl",
        "tasks": {"quiz": {"endpoint_type": "chat"}},
    },
    "rig": {
        "kind": "lm_eval",
        "include_path": "benchmark",
        "tasks": {"snakeval_sums": {"endpoint_type": "chat"}},
    },
}
NOWHERE = "http://127.0.0.1:9/v1/chat/completions"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(ScriptedEndpoint())
        engine = stack.enter_context(engine_for_session())
        os.environ["DOCKER_HOST"] = engine.host
        ensure_nemo_image(engine)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        project = Project(place / "project", endpoint.chat_url)
        made = evaluate(project)
        replaced = {
            endpoint.chat_url: NOWHERE,
            endpoint.chat_url.rpartition("/v1/")[0]: NOWHERE.rpartition("/v1/")[0],
            str(project.folder): "/home/me/project",
            str(ROOT): "/home/me/snakeval",
            sys.prefix: "/home/me/snakeval/.venv",
            f'"{platform.node()}"': '"host"',
        }
        for path in [made, *made.rglob("*")]:
            if path.is_file() and not path.is_symlink():
                neutral(path, replaced)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder, symlinks=True)


def evaluate(project: Project) -> Path:
    """The project's folder with a finished run in it, and nothing else."""
    project.folder.mkdir()
    shutil.copytree(QUIZ, project.folder / "ask")
    shutil.copytree(BENCHMARK, project.folder / "benchmark")
    project.write(
        [
            {"name": "own.quiz"},
            {"name": "rig.snakeval_sums"},
            {**nemo_sums(), "dataset_dir": "benchmark"},
        ],
        {"limit_samples": 4},
        name="kept",
        harnesses=HARNESSES,
    )
    project.snakemake().check()
    project.run(*project.command()[:3], "clean", "--config", "yes=true").check()
    left = [project.folder / name for name in (".snakemake", "home")]
    for folder in [*left, *project.folder.rglob("__pycache__")]:
        shutil.rmtree(folder)
    return project.folder


def neutral(path: Path, replaced: dict[str, str]) -> None:
    """Replaces what is about this machine, in a text."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    for old, new in replaced.items():
        text = text.replace(old, new)
    mode = path.stat().st_mode
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


if __name__ == "__main__":
    main()
