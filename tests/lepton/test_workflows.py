"""Any Snakemake workflow with `--executor lepton`: what works, and what is refused before it."""

from pathlib import Path

import pytest
import snakemake.common.tests
from on_lepton import STORAGE, Workflow
from snakemake_interface_common.exceptions import WorkflowError

from rig.docker_engine import DockerEngine
from rig.image import ensure_base_image
from rig.lepton_service import LeptonService
from snakemake_executor_plugin_lepton import ExecutorSettings


def test_files_folders_logs_variables_and_retries(
    workflow: Workflow, lepton: LeptonService
) -> None:
    lepton.secrets["token"] = "s3cret"
    lepton.node_groups["cpus"] = "ng-17"
    workflow.write(
        """
rule all:
    input: "b.txt", "folder", "often"
rule a:
    output: "a.txt"
    log: "logs/a.log"
    shell: "echo \\"it's $NAME ${{#TOKEN}}\\" > {output} 2> {log}"
rule b:
    input: "a.txt"
    output: ensure("b.txt", non_empty=True)
    shell: "cat {input} > {output}"
rule c:
    output: directory("folder")
    resources: runtime=7
    shell: "mkdir {output}; touch {output}/x"
rule d:
    output: "often"
    retries: 2
    resources: attempt_number=lambda wildcards, attempt: attempt
    shell: "echo x >> tries; [ {resources.attempt_number} = 2 ]; touch {output}"
"""
    )

    ended = workflow.run(
        *("--lepton-node-group", "cpus"),
        *("--lepton-env", "TOKEN=secret:token NAME='lit:two words'"),
    ).check()

    assert (workflow.folder / "b.txt").read_text() == "it's two words 6\n"
    assert (workflow.folder / "logs" / "a.log").exists()
    assert (workflow.folder / "tries").read_text() == "x\nx\n"
    assert "s3cret" not in ended.output
    for job in lepton.jobs.created:
        assert job.given.spec.affinity.allowed_dedicated_node_groups == ["ng-17"]
    limits = {
        job.name.split("-")[1]: job.given.spec.container.command[-1] for job in lepton.jobs.created
    }
    assert limits == {"a": "0", "b": "0", "c": "420", "d": "0"}
    assert lepton.jobs.all == {}
    # nothing is left of jobs that went well
    assert len(list((workflow.folder / ".snakemake" / "lepton").iterdir())) == 1


def test_everything_that_cannot_be_run_is_told_at_once_and_before_any_job(
    workflow: Workflow, lepton: LeptonService
) -> None:
    workflow.write(
        """
rule all:
    input: "script", "run", "shadow", "piped", "away/x", "bench"
rule script:
    output: "script"
    script: "x.py"
rule run:
    output: "run"
    run:
        pass
rule shadow:
    output: "shadow"
    shadow: "minimal"
    shell: "touch {output}"
rule bench:
    output: "bench"
    benchmark: "b.tsv"
    shell: "touch {output}"
rule away:
    output: "away/x"
    resources: lepton_mounts="nonsense"
    shell: "touch {output}"
rule grouped:
    output: "piped"
    group: "g"
    shell: "touch {output}"
"""
    )
    (workflow.folder / "x.py").write_text("")

    output = workflow.run().refused().output

    for sentence in (
        "rule script: `script:` needs Snakemake in the image",
        "rule run: `run:` needs Snakemake in the image",
        "rule shadow: `shadow:` is not possible",
        "rule bench: `benchmark:` needs Snakemake",
        "rule away: 'nonsense' is no list of mounts",
        "a Lepton job runs one job; leave `group:` out",
    ):
        assert sentence in output, output
    assert lepton.jobs.created == []


def test_storage_at_another_path_is_the_same_storage(
    docker_engine: DockerEngine, tmp_path: Path
) -> None:
    # given jobs that see the storage at /work, and a workflow with a path of this machine
    folder = tmp_path / "storage"
    folder.mkdir()
    image = ensure_base_image(docker_engine)
    with LeptonService(volumes={STORAGE: folder}, engine=docker_engine) as lepton:
        flow = Workflow(folder / "flow", folder, lepton=lepton, mounted_at="/work")
        flow.write(
            f'rule a:\n    output: "{folder}/x", "y"\n'
            '    shell: "pwd > {output[0]}; cp {output}"\n'
        )
        flow.run("--lepton-image", image).check()
        assert (folder / "flow" / "y").read_text() == "/work/flow\n"

        # and one that is not on the storage: its files are copied there and back
        away = Workflow(tmp_path / "away", folder, lepton=lepton, mounted_at="/work")
        away.write(
            'rule a:\n    input: "in"\n    output: directory("d/out")\n    log: "a.log"\n'
            '    shell: "mkdir {output}; cp {input} {output}/x; echo logged > {log}"\n'
        )
        (away.folder / "in").write_text("brought")
        away.run("--lepton-image", image).check()
        assert (away.folder / "d" / "out" / "x").read_text() == "brought"
        assert (away.folder / "a.log").read_text() == "logged\n"
        assert not list(folder.rglob("staged-*"))


class TestSnakemakesOwnExecutorTests(snakemake.common.tests.TestWorkflowsLocalStorageBase):
    """The tests that Snakemake has for executors."""

    __test__ = True

    @pytest.fixture(autouse=True)
    def _service(
        self, lepton: LeptonService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name, value in lepton.environment.items():
            monkeypatch.setenv(name, value)
        self.storage = tmp_path

    def get_executor(self) -> str:
        return "lepton"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(
            image="rig", resource_shape="cpu.small", mounts=f"{STORAGE}:/:{self.storage}"
        )

    def test_group_workflow(self, tmp_path: Path) -> None:
        """Refused with a sentence: a Lepton job is one job in one image."""
        with pytest.raises(WorkflowError, match="leave `group:` out"):
            self.run_workflow("groups", tmp_path)
