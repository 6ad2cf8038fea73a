"""Runs shellcheck on the scripts as they are rendered, one per runtime (part of `make check`)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from snakeval.config.load import load
from snakeval.config.model import Config
from snakeval.executors.lepton import server as lepton
from snakeval.executors.slurm.server_job import batch_script, described
from snakeval.plan.make import make_run
from snakeval.plan.server import MODEL, servers_of
from snakeval.render.server import ON_NODES
from snakeval.render.server import render as render_server
from snakeval.render.task import RUNTIMES, render
from snakeval.start.begin import run_all

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    run = make_run(load([ROOT / "config" / "config.yaml"], {}), ROOT / "config" / "catalogue")
    config = Config.model_validate(
        {
            "deployment": {"type": "vllm", "served_model_name": "m", "hf_model_handle": "o/m"},
            "evaluation": {"tasks": ["t"]},
        }
    )
    server = servers_of(config)[MODEL]
    with tempfile.TemporaryDirectory() as folder:
        scripts = []
        for runtime in RUNTIMES:
            scripts.append(Path(folder) / f"{runtime}.sh")
            scripts[-1].write_text(render(run.tasks[0], runtime, "image"), encoding="utf-8")
        for runtime in ("docker", "podman", "process", "apptainer", "pyxis"):
            scripts.append(Path(folder) / f"server_{runtime}.sh")
            scripts[-1].write_text(render_server(server, runtime, "image"), encoding="utf-8")
        for runtime in ON_NODES:
            scripts.append(Path(folder) / f"server_on_nodes_{runtime}.sh")
            text = render_server(replace(server, nodes=2, instances=2), runtime, "image")
            scripts[-1].write_text(text, encoding="utf-8")
        scripts.append(Path(folder) / "server_lepton.sh")
        text = render_server(server, "lepton", "image", command="{}", body=lepton.body())
        scripts[-1].write_text(text, encoding="utf-8")
        scripts.append(Path(folder) / "sbatch_server.sh")
        flags = described(run, server, {})
        scripts[-1].write_text(batch_script(run, server, flags, "image"), encoding="utf-8")
        scripts.append(Path(folder) / "run_all.sh")
        scripts[-1].write_text(run_all(run), encoding="utf-8")
        shellcheck = Path(sys.executable).with_name("shellcheck")
        # SC2329: some functions are called by a trap, or by the other part of the script.
        return subprocess.run([shellcheck, "-e", "SC2329", *scripts], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
