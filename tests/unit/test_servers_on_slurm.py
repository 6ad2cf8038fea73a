"""A server's job on Slurm, as text: what it asks for, and how it is started on several nodes."""

import json
from pathlib import Path
from typing import Any

import pytest

from snakeval.config.load import load
from snakeval.config.model import Config
from snakeval.errors import InputError
from snakeval.executors.slurm import placement
from snakeval.executors.slurm import server as slurm
from snakeval.executors.slurm.queue import Job
from snakeval.executors.slurm.server_job import batch_script, described
from snakeval.job.supervise import UNUSED
from snakeval.plan.make import make_run
from snakeval.plan.run import Run, Task
from snakeval.plan.server import MODEL, Server, servers_of
from snakeval.render.server import render
from snakeval.run_folder.layout import RunPaths, ServerPaths

VLLM = {"type": "vllm", "served_model_name": "m", "hf_model_handle": "o/m"}


def run_of(deployment: dict[str, Any], execution: dict[str, Any], tmp_path: Path) -> Run:
    config = Config.model_validate(
        {
            "execution": {"type": "slurm", "account": "lab", **execution},
            "deployment": {**VLLM, **deployment},
            "evaluation": {"tasks": ["t"]},
        }
    )
    paths = RunPaths(tmp_path / "2026-01-01-00-00-00-0123abcd")
    return Run(
        paths=paths,
        config=config,
        raw={},
        base=tmp_path,
        identity={},
        tasks=(),
        selected=(),
        fresh=(),
        place=lambda *keys: ".".join(keys),
        servers=servers_of(config),
        new=True,
    )


def asked(
    tmp_path: Path, deployment: dict[str, Any] | None = None, **execution: Any
) -> dict[str, str]:
    """The flags of the server's job."""
    run = run_of(deployment or {}, execution, tmp_path)
    defaults = {"slurm_partition": "cpu", "runtime": 240, "mem_mb": 4000}
    flags = [" ".join(words) for words in described(run, run.servers[MODEL], defaults)]
    pairs = (flag.replace("=", " ", 1).partition(" ") for flag in flags)
    return {name: value for name, _, value in pairs}


def test_gpus_partition_and_limit_are_the_configs(tmp_path: Path) -> None:
    flags = asked(tmp_path, partition="gpu", walltime="02:00:00", gres="gpu:h100:4")
    assert (flags["-A"], flags["-p"], flags["-t"]) == ("lab", "gpu", "02:00:00")
    assert flags["--gres"] == "gpu:h100:4"
    assert "--requeue" in flags
    assert flags["--signal"] == "B:USR1@120"
    # CPUs and memory are the server's: the profile's are for harnesses
    assert (flags["--cpus-per-task"], flags["--mem"]) == ("32", "240000")


def test_a_server_gets_what_servers_need(tmp_path: Path) -> None:
    def given(model: dict[str, Any] | None = None, **execution: Any) -> tuple[str | None, ...]:
        run = run_of(model or {}, execution, tmp_path)
        words = [each[0].partition("=") for each in described(run, run.servers[MODEL], {})]
        flags = {name: value for name, _, value in words}
        return flags.get("--cpus-per-task"), flags.get("--mem")

    own = {"cpus_per_gpu": 4, "mem_mb_per_gpu": 1000}
    assert given(gres="gpu:2", deployment=own) == ("8", "2000")
    assert given(gpus_per_node=4, gres=None, deployment=own) == ("16", "4000")
    assert given(gres="gpu:2", ntasks_per_node=2, deployment=own) == ("4", "2000")
    assert given(gres="gpu", deployment=own) == ("4", "1000")
    # all of a node that is the job's alone
    exclusive = {"exclusive": True}
    assert given(sbatch_extra_flags=exclusive) == (None, "0")
    assert given(sbatch_extra_flags=exclusive | {"mem": "1T"})[1] == "1T"
    # what is written wins; a server without GPUs gets the cluster's defaults
    assert given(deployment={"cpus": 3, "mem_mb": 500}) == ("3", "500")
    assert given({"gpus": 0}) == (None, None)
    assert given({"gpus": 0}, deployment={"cpus": 3}) == ("3", None)


def test_what_the_config_does_not_say_is_the_profiles(tmp_path: Path) -> None:
    flags = asked(tmp_path)
    assert (flags["-p"], flags["-t"]) == ("cpu", "04:00:00")


@pytest.mark.parametrize(
    ("gpus", "gres"), [(2, "gpu:2"), ("0,3", "gpu:2"), (0, None), (None, "gpu:8"), ("all", "gpu:8")]
)
def test_the_deployments_gpus_win_over_the_clusters_default(
    gpus: int | str | None, gres: str | None, tmp_path: Path
) -> None:
    assert asked(tmp_path, {"gpus": gpus}).get("--gres") == gres


def test_a_process_asks_for_gpus_only_where_the_config_does(tmp_path: Path) -> None:
    process = {"type": "process", "command": "serve", "hf_model_handle": None}
    assert "--gres" not in asked(tmp_path, process)
    assert asked(tmp_path, process, gres="gpu:1")["--gres"] == "gpu:1"


def test_the_servers_own_flags_are_on_top_of_the_jobs(tmp_path: Path) -> None:
    execution = {
        "sbatch_extra_flags": {"exclusive": True, "qos": "low"},
        "deployment": {"sbatch_extra_flags": {"exclusive": False, "mem": "64G"}},
    }
    run, server = several(tmp_path, execution=execution)
    flags = [word for words in described(run, server, {}) for word in words]
    assert {"--qos=low", "--mem=64G"} <= set(flags)
    assert "--exclusive" not in flags


def test_the_batch_script_has_no_path_of_the_run(tmp_path: Path) -> None:
    run = run_of({}, {}, tmp_path)
    server = run.servers[MODEL]
    text = batch_script(run, server, described(run, server, {}), "vllm@sha256:1")
    assert str(tmp_path) not in text
    assert 'exec bash "$here"/server.sh' in text


# --- where its benchmarks run -------------------------------------------------------------------

GPUS = {"partition": "gpu", "gres": "gpu:8"}


@pytest.mark.parametrize(
    ("execution", "why"),
    [
        (GPUS, "there is no cpu_partition beside the partition of GPUs ('gpu')"),
        (GPUS | {"cpu_partition": "cpu"}, None),
        (GPUS | {"placement": "separate"}, None),
        (GPUS | {"gres": None}, None),
        ({"gres": "gpu:8"}, None),  # the partition is the profile's: nobody knows it for a GPU's
        ({"sbatch_extra_flags": {"exclusive": True}}, "sbatch_extra_flags.exclusive"),
        ({"sbatch_extra_flags": {"exclusive": False}}, None),
    ],
)
def test_benchmarks_that_would_take_whole_nodes_run_beside_their_server(
    execution: dict[str, Any], why: str | None, tmp_path: Path
) -> None:
    run, task = planned(tmp_path, execution)
    assert bool(placement.hosting(run, task)) is (why is not None)
    told = [problem for problem in placement.remarks([(run, task)], 240) if "auto" in problem.what]
    assert bool(told) is (why is not None)
    if why:
        assert why in told[0].what and "run inside the job of their server 'model'" in told[0].what
        assert told[0].warning and told[0].where.endswith("execution.placement")


def test_a_benchmark_with_a_partition_of_its_own_is_a_job_there(tmp_path: Path) -> None:
    run, task = planned(tmp_path, GPUS, resources={"partition": "long"})
    assert placement.hosting(run, task) is None


def test_what_a_whole_node_for_each_benchmark_costs_is_told(tmp_path: Path) -> None:
    execution = {
        "sbatch_extra_flags": {"exclusive": True},
        "placement": "separate",
        "walltime": "4:00:00",
    }
    run, task = planned(tmp_path, execution)
    (told,) = placement.remarks([(run, task)] * 12, None)
    assert "12 benchmarks take a whole node each (up to 48 node-hours" in told.what
    assert told.fix == "write exclusive: false to share nodes" and told.warning


def planned(
    tmp_path: Path, execution: dict[str, Any], resources: dict[str, Any] | None = None
) -> tuple[Run, Task]:
    """A benchmark of a deployed vLLM."""
    content = {
        "execution": {"type": "slurm", "output_dir": str(tmp_path / "out"), **execution},
        "deployment": VLLM,
        "harnesses": {"own": {"kind": "command", "command": "true", "tasks": {"quiz": None}}},
        "evaluation": {"tasks": [{"name": "own.quiz", "resources": resources or {}}]},
    }
    (tmp_path / "my.yaml").write_text(json.dumps(content))
    catalogue = Path(__file__).parents[2] / "config" / "catalogue"
    run = make_run(load([tmp_path / "my.yaml"], {}), catalogue)
    return run, run.tasks[0]


# --- bringing it up -----------------------------------------------------------------------------


class Up(Exception):
    """A job was submitted; the rest is the supervisor's."""


@pytest.mark.parametrize(
    ("state", "cause", "recorded", "told"),
    [
        ("stopped", UNUSED, "7", None),
        ("stopped", "stopped by SIGTERM", "7", "stopped by SIGTERM"),
        ("failed", "not healthy; its last lines:\nno GPU", "7", "no GPU"),
        ("stopped", UNUSED, "6", "job 7 ended as CANCELLED"),
    ],
    ids=["unused", "cancelled", "failed", "cancelled in the queue"],
)
def test_a_job_of_an_earlier_start_that_ends_while_it_is_waited_for(
    state: str,
    cause: str,
    recorded: str,
    told: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given a job that is there, and then is not
    paths = run_of({}, {}, tmp_path).paths.server(MODEL)
    paths.logs.mkdir(parents=True)
    for script in (paths.script, paths.batch_script):
        script.touch()
    digest = slurm.state.script_digest(paths)
    paths.job.write_text(json.dumps({"job": "7", "digest": digest}))
    job = Job("7", "RUNNING", "", "n1", "1:00", "server", paths.batch_script.resolve())
    looks = iter([[job]])
    monkeypatch.setattr(slurm, "LOOK_AGAIN", 0)
    monkeypatch.setattr(slurm.queue, "jobs", lambda: next(looks, []))
    monkeypatch.setattr(slurm.queue, "states", lambda ids: dict.fromkeys(ids, "CANCELLED"))

    def submit(_: ServerPaths) -> str:
        raise Up

    monkeypatch.setattr(slurm, "submit", submit)
    content = {"state": state, "cause": cause, "lives": [{"job": recorded}]}
    paths.status.write_text(json.dumps(content))
    # then another one is submitted only where it ended because nobody used it
    with pytest.raises(InputError if told else Up, match=told):
        slurm.Servers().bring_up(paths)


# --- several nodes and instances: as text only --------------------------------------------------


def several(tmp_path: Path, **sections: Any) -> tuple[Run, Server]:
    run = run_of(sections.get("deployment", {}), sections.get("execution", {}), tmp_path)
    return run, run.servers[MODEL]


def test_several_nodes_are_one_job_with_a_task_on_each(tmp_path: Path) -> None:
    run, server = several(tmp_path, deployment={"type": "vllm_ray"}, execution={"num_nodes": 4})
    assert ["--nodes=4"] in described(run, server, {})
    script = render(server, "pyxis", "vllm", reach="nodes")
    assert "nodes=4\ninstances=1\nray=yes" in script
    assert "ray start --head" in script
    (problem,) = slurm.Servers().check(run, server, "pyxis")
    assert problem.warning
    assert "was not tried" in problem.what


def test_nodes_and_tasks_are_totals_that_instances_share(tmp_path: Path) -> None:
    # as the launcher 0.2.6 means them
    execution = {
        "num_nodes": 6,
        "num_instances": 3,
        "deployment": {"n_tasks": 12},
        "proxy": {"image": "haproxy:3"},
    }
    run, server = several(tmp_path, execution=execution)
    assert ["--nodes=6"] in described(run, server, {})
    assert (server.nodes, server.instances, server.tasks) == (2, 3, 4)
    script = render(server, "pyxis", "vllm", reach="nodes")
    assert "tasks=4\nnodes=2\ninstances=3\nray=no\nproxy_image=haproxy:3" in script
    # a step for each instance, whoever runs it
    for runtime in ("pyxis", "process"):
        assert 'srun "${options[@]}" --nodelist' in render(server, runtime, "vllm")
    # and what is on one node only has none of it
    assert "launch_on_nodes() {" not in render(several(tmp_path)[1], "process", None)


def test_the_older_way_to_ask_for_instances_is_one_on_each_node(tmp_path: Path) -> None:
    _, server = several(
        tmp_path, deployment={"multiple_instances": True}, execution={"num_nodes": 4}
    )
    assert (server.nodes, server.instances) == (1, 4)


def test_what_several_nodes_lack_is_told(tmp_path: Path) -> None:
    def told(runtime: str, **execution: Any) -> list[str]:
        run, server = several(tmp_path, execution=execution)
        return [problem.what for problem in slurm.Servers().check(run, server, runtime)]

    two = {"num_nodes": 2, "num_instances": 2}
    assert "which docker does not serve from" in told("docker", **two)[0]
    assert "is missing" in told("pyxis", **two)[0]  # an image of haproxy
    assert not told("process", **two)
    for uneven in ({"num_nodes": 3}, {"num_nodes": 4, "deployment": {"n_tasks": 5}}):
        (what,) = told("process", num_instances=2, **uneven)
        assert "is not to be divided by num_instances: 2" in what


@pytest.mark.parametrize("runtime", ["apptainer", "pyxis"])
def test_a_container_on_the_nodes_network_gets_a_free_port(runtime: str, tmp_path: Path) -> None:
    _, server = several(tmp_path)
    assert "\nport=''\n" in render(server, runtime, "vllm", reach="nodes")
    _, fixed = several(tmp_path, deployment={"port": 9000})
    assert "\nport=9000\n" in render(fixed, runtime, "vllm", reach="nodes")
