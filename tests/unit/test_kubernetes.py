"""What a Job asks for, what its pods tell, and what an answer of the API server means."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from rig.kubernetes_service import KubernetesService
from rig.kubernetes_service.types import checked, checked_job
from snakemake_executor_plugin_kubernetes_jobs import client, spec
from snakemake_executor_plugin_kubernetes_jobs import executor as module
from snakemake_executor_plugin_kubernetes_jobs.hooks import Hooks
from snakemake_executor_plugin_kubernetes_jobs.settings import ExecutorSettings
from snakemake_executor_plugin_kubernetes_jobs.states import Seen, seen
from snakemake_executor_plugin_lepton.client import (
    Conflict,
    Denied,
    Missing,
    Rejected,
    ServiceError,
    Unauthorized,
    Unreachable,
)
from snakemake_executor_plugin_lepton.registry import Tracked
from snakemake_executor_plugin_lepton.states import Phase
from snakemake_executor_plugin_lepton.storage import Unusable
from snakemake_executor_plugin_lepton.watch import Watch
from snakeval.executors.kubernetes import Executor, checks
from snakeval.executors.kubernetes.endpoint_spec import content_of
from snakeval.executors.kubernetes.places import Place, note_place, places_of
from snakeval.executors.kubernetes.resources import resources_of
from snakeval.executors.kubernetes.server import Servers
from snakeval.plan.make import plan
from snakeval.run_folder.layout import RunPaths

ROOT = Path(__file__).parents[2]
SETTINGS = ExecutorSettings(image="i:1", volumes="claim:/evals:/shared")


def body_of(settings: ExecutorSettings = SETTINGS, **resources: Any) -> dict[str, Any]:
    wanted = spec.wanted(resources, settings)
    return spec.body("snakemake-one-1", "evals", wanted, ["true"], {"snakemake-attempt": "one"})


# --- what a job asks for --------------------------------------------------------------------------


def test_a_job_is_one_that_the_clients_own_types_know() -> None:
    body = body_of(
        kubernetes_env="TOKEN=secret:keys OTHER=secret:more/key TEXT='lit:$(HOME) $'",
        kubernetes_image_pull_secrets="ngc",
        kubernetes_pod='{"nodeSelector": {"pool": "cpu"}, "tolerations": [{"operator": "Exists"}]}',
        cpus_per_task=2,
        mem_mb=4000,
    )
    checked_job(body, strict=True)
    job = body["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert job["backoffLimit"] == 0
    assert job["podFailurePolicy"]["rules"][0]["action"] == "Ignore"
    assert pod["nodeSelector"] == {"pool": "cpu"}
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "4000M"},
        "limits": {"memory": "4000M"},
    }
    assert container["volumeMounts"] == [
        {"name": "volume-0", "mountPath": "/shared", "subPath": "evals"}
    ]
    references = [each.get("valueFrom", {}).get("secretKeyRef") for each in container["env"]]
    assert container["env"][2]["value"] == "$$(HOME) $$"
    assert references == [{"name": "keys", "key": "TOKEN"}, {"name": "more", "key": "key"}, None]


def test_what_is_not_known_before_the_input_is_there_is_not_asked_for_yet() -> None:
    # as Snakemake's default for memory, of a rule whose input another makes
    (container,) = body_of(mem_mb="<TBD>", cpus_per_task="<TBD>")["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["resources"] == {"requests": {}, "limits": {}}


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"kubernetes_volumes": "nonsense"}, "write CLAIM:PATH:MOUNT_PATH"),
        ({"kubernetes_env": "KEY=sk-1"}, "has neither a secret nor text"),
        ({"kubernetes_pod": "{"}, "kubernetes_pod cannot be read"),
        ({"kubernetes_pod": '{"containers": []}'}, "has 'containers', which this executor writes"),
        ({"cpus_per_task": "many"}, "is no number of CPUs: 'many'"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(resources: Any, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        body_of(**resources)


def test_snakemake_finds_the_plugin_and_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from snakemake.cli import get_argument_parser
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    monkeypatch.setenv("SNAKEMAKE_KUBERNETES_JOBS_IMAGE", "i:1")
    given = ["--executor", "kubernetes-jobs", "--kubernetes-jobs-namespace", "evals"]
    arguments = get_argument_parser().parse_args(given)
    settings = ExecutorPluginRegistry().get_plugin("kubernetes-jobs").get_settings(arguments)
    assert (settings.namespace, settings.image) == ("evals", "i:1")


# --- what it tells --------------------------------------------------------------------------------


def pod(phase: str = "Pending", state: Any = None, **status: Any) -> dict[str, Any]:
    containers = [{"name": "job", "state": state}] if state else []
    return {"status": {"phase": phase, "containerStatuses": containers, **status}}


def condition(kind: str, **words: str) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": kind, "status": "True", **words}]}}


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
BACK_OFF = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}
KILLED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}


@pytest.mark.parametrize(
    ("job", "pods", "expected"),
    [
        ({}, [], Seen(Phase.WAITING)),
        ({"status": {"ready": 1}}, [], Seen(Phase.RUNNING)),
        ({}, [pod("Failed"), pod("Running")], Seen(Phase.RUNNING)),
        (
            {},
            [pod(conditions=[{**UNSCHEDULABLE, "message": "0/3 nodes"}])],
            Seen(Phase.WAITING, "Unschedulable: 0/3 nodes"),
        ),
        (
            {},
            [pod(state=BACK_OFF)],
            Seen(Phase.WAITING, 'ImagePullBackOff: Back-off pulling image "x"', stuck=True),
        ),
        # preempted, and not made anew yet: nothing has ended
        ({}, [pod("Failed")], Seen(Phase.WAITING)),
        (condition("Suspended", reason="JobSuspended"), [], Seen(Phase.WAITING, "JobSuspended")),
        (condition("Complete"), [], Seen(Phase.COMPLETED)),
        (
            condition("Failed", reason="BackoffLimitExceeded"),
            [pod("Failed", KILLED)],
            Seen(Phase.FAILED, "BackoffLimitExceeded; OOMKilled"),
        ),
        (
            condition("Failed", reason="BackoffLimitExceeded"),
            [pod("Failed", reason="Evicted", message="low on disk")],
            Seen(Phase.FAILED, "BackoffLimitExceeded; Evicted: low on disk"),
        ),
        ({"metadata": {"deletionTimestamp": "x"}}, [pod("Running")], Seen(Phase.ENDING)),
    ],
)
def test_how_a_job_is_is_told_in_the_clusters_words(job: Any, pods: Any, expected: Seen) -> None:
    assert seen(job, pods) == expected


# --- answers of the server ------------------------------------------------------------------------


class Api:
    """The client; each call gets the next answer."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str]] = []

    def call_api(self, path: str, method: str, **_: Any) -> Any:
        self.asked.append((method, path))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(data=answer)


def cluster_of(*answers: Any) -> Any:
    found: Any = object.__new__(client.Kubernetes)
    found._api, found._timeout, found.namespace, found.told = Api(*answers), 1.0, "evals", {}
    return found


def refusal(status: int, message: str) -> Exception:
    from kubernetes.client.exceptions import ApiException

    error = ApiException(status=status, reason="x")
    error.body = f'{{"kind": "Status", "message": "{message}"}}'
    error.headers = {"Retry-After": "7"}
    return error


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (401, "Unauthorized", Unauthorized),
        (403, "jobs.batch is forbidden: User cannot create", Denied),
        (403, "jobs.batch is forbidden: exceeded quota: small", client.Full),
        (404, "namespaces 'x' not found", Missing),
        (422, "Job.batch is invalid: spec.template", Rejected),
        (429, "too many requests", Unreachable),
        (503, "apiserver is shutting down", Unreachable),
    ],
)
def test_an_error_keeps_the_servers_words(
    status: int, message: str, kind: type[ServiceError]
) -> None:
    with pytest.raises(kind, match=message) as raised:
        cluster_of(refusal(status, message)).create(body_of())
    assert type(raised.value) is kind


def test_no_answer_and_one_that_is_none_say_nothing_of_a_job() -> None:
    from urllib3.exceptions import ProtocolError

    for answer in (ProtocolError("cut"), b"<html>", b"[]", b'{"status": 7}'):
        with pytest.raises(Unreachable):
            cluster_of(answer, b"{}").phase("one")


@pytest.mark.parametrize(
    "said",
    [
        *(b"", b"<html>502</html>", b'{"metadata": {"na', b"null", b"7", b'"text"', b"[null]"),
        *(b'{"items": null}', b'{"items": [null]}', b'{"items": {"a": 1}}', b'{"metadata": 7}'),
        *(b'{"metadata": {"labels": 7}}', b'{"status": [7]}', b'{"status": {"conditions": [7]}}'),
        *(b'{"items": [{"status": {"containerStatuses": [null]}}]}', b'{"data": 7}'),
    ],
)
def test_an_answer_of_whatever_shape_is_read_or_is_none(said: bytes) -> None:
    conflict = refusal(409, "already exists")
    for ask, answers in (
        (lambda asked: asked.phase("one"), [said, said, said]),
        (lambda asked: asked.phase("one"), [b'{"metadata": {}}', b'{"items": []}', said]),
        (lambda asked: asked.find({"a": "b"}), [said]),
        (lambda asked: asked.log("one"), [said, said]),
        (lambda asked: asked.secret_keys("one"), [said]),
        (lambda asked: asked.create(body_of()), [conflict, said]),
    ):
        with suppress(ServiceError):
            ask(cluster_of(*answers))


def test_a_creation_whose_answer_was_lost_finds_its_own_job_and_no_other() -> None:
    conflict = refusal(409, "already exists")
    own = b'{"metadata": {"labels": {"snakemake-attempt": "one"}}}'
    assert cluster_of(conflict, own).create(body_of()) == "snakemake-one-1"
    with pytest.raises(Conflict):
        cluster_of(conflict, b'{"metadata": {"labels": {}}}').create(body_of())


# --- the executor ---------------------------------------------------------------------------------


def executor_of(cluster: Any) -> Any:
    found: Any = object.__new__(module.Executor)
    found._service, found._service_lock = cluster, threading.Lock()
    found._waits, found._stuck, found.stopping = {}, {}, threading.Event()
    lines: list[str] = []
    found.logger = SimpleNamespace(info=lines.append, warning=lines.append, error=lines.append)
    found.lines = lines
    return found


def tracked_of(folder: Path, **resources: Any) -> Tracked:
    wanted = spec.wanted(resources, SETTINGS)
    job = SimpleNamespace(name="one")
    return Tracked(
        job, "one-1", folder, wanted, {"snakemake-attempt": "one-1"}, Watch(), id="one-1"
    )


def test_an_image_that_cannot_be_had_is_told_once_and_given_up_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"items": [pod(state=BACK_OFF)]}).encode()
    executor = executor_of(cluster_of(*([b"{}", answer] * 3)))
    tracked = tracked_of(tmp_path, kubernetes_stuck_limit=5)
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    assert executor._verdict(tracked) is None
    clock.now += 200
    assert executor._verdict(tracked) is None
    assert executor.lines == ['one: one-1 waits: ImagePullBackOff: Back-off pulling image "x"']
    clock.now += 200
    assert executor._verdict(tracked).cause == (
        'could not be started for 5 minutes: ImagePullBackOff: Back-off pulling image "x"'
    )


def test_a_quota_without_room_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FULL_PAUSE", 0.0)
    full = refusal(403, "jobs.batch is forbidden: exceeded quota: small")
    executor = executor_of(cluster_of(full, full, b"{}"))
    executor.hooks = Hooks()
    assert executor._made(tracked_of(tmp_path), ["true"]) == ("one-1", False)
    assert len(executor.lines) == 1 and "exceeded quota: small" in executor.lines[0]


def test_what_the_server_has_against_a_job_is_told_once_and_no_quota_is_a_refusal() -> None:
    wanted = [spec.wanted({"kubernetes_image": name}, SETTINGS) for name in ("a", "b", "c", "a")]
    unknown = refusal(400, "strict decoding error: unknown field spec.template.spec.nodeSelektor")
    full = refusal(403, "jobs.batch is forbidden: exceeded quota: small")
    cluster = cluster_of(unknown, unknown, full)
    (said,) = executor_of(cluster)._refused_bodies(wanted)
    assert "would refuse a job: 400: strict decoding error: unknown field spec.temp" in said
    assert len(cluster._api.asked) == 3


# --- the config -----------------------------------------------------------------------------------


def planned(folder: Path, **execution: Any) -> tuple[Any, Any]:
    file = folder / "my.yaml"
    content = {
        "execution": {"type": "kubernetes", "output_dir": "out", **execution},
        "target": {
            "api_endpoint": {
                "url": "http://m/v1/chat/completions",
                "model_id": "m",
                "api_key_name": "MODEL_KEY",
            }
        },
        "evaluation": {"tasks": [{"name": "lm-evaluation-harness.ifeval"}]},
    }
    file.write_text(yaml.safe_dump(content))
    run = plan([file], {}, ROOT / "config" / "catalogue")
    first = run[0] if isinstance(run, tuple) else run
    return first, first.tasks[0]


def test_the_config_becomes_a_jobs_resources(tmp_path: Path) -> None:
    run, task = planned(
        tmp_path,
        namespace="evals",
        secret="eval-keys",
        volumes=[{"claim": "shared", "mount_path": "/shared", "here": "/mnt/shared"}],
        walltime="00:90:00",
        mem_mb=9000,
        pod={"nodeSelector": {"pool": "cpu"}},
    )
    found = resources_of(run, task)
    wanted = spec.wanted(found, ExecutorSettings())
    assert wanted.namespace == "evals" and wanted.limit == 5400 and wanted.memory_mb == 9000
    assert wanted.pod == {"nodeSelector": {"pool": "cpu"}} and wanted.image == task.image
    (mount,) = wanted.mounts
    assert (mount.source, mount.at, mount.here) == ("shared", "/shared", Path("/mnt/shared"))
    assert [spec.secret_of(each) for each in wanted.variables] == [("eval-keys", "MODEL_KEY")]


def test_a_key_without_a_secret_is_told_with_the_command_that_makes_one(tmp_path: Path) -> None:
    run, task = planned(tmp_path)
    (problem,) = checks.without_a_secret([(run, task)], lambda _: ())
    assert "benchmarks need MODEL_KEY" in str(problem)
    assert "kubectl create secret generic eval-keys --from-literal=MODEL_KEY=..." in str(problem)
    assert not [*checks.without_a_secret([(run, task)], lambda _: {"MODEL_KEY"})]


def test_a_dry_run_says_what_a_start_would_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> str:
        return "\n".join(map(str, Executor().remarks([(run, task)], {})))

    def refuse(*_: Any) -> None:
        return None

    volume = {"claim": "shared", "mount_path": "/shared", "here": str(tmp_path / "nowhere")}
    run, task = planned(tmp_path, namespace="evals", secret="eval-keys", volumes=[volume])
    # no cluster, and no volume on this machine
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert "no cluster is known here: set KUBECONFIG" in told()
    assert "execution.volumes.0.claim: the volume 'shared' is not at" in told()
    # a cluster without the claim and the Secret; then one that has them, and one that is silent
    with KubernetesService({}) as service:
        monkeypatch.setenv("KUBECONFIG", str(service.kubeconfig))
        assert "namespace 'evals' has no volume claim 'shared': create it" in told()
        assert "has no Secret 'eval-keys' for MODEL_KEY: `kubectl -n evals create" in told()
        service.cluster.claims["shared"] = tmp_path
        service.cluster.secrets["eval-keys"] = {"MODEL_KEY": "x"}
        (tmp_path / "nowhere").mkdir()
        assert not told()
        service.faults.add("GET", "/persistentvolumeclaims/", status=503, times=1)
        assert "Kubernetes cannot be asked: 503" in told()
    # and a machine without the client
    monkeypatch.setattr("importlib.util.find_spec", refuse)
    assert "the client of Kubernetes is not installed: pip install" in told()


def test_a_run_remembers_every_namespace_that_its_jobs_were_in(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    assert places_of(run) == []
    for place in (Place("", "evals"), Place("big", "evals"), Place("", "evals")):
        note_place(run, place)
    assert places_of(run) == [Place("", "evals"), Place("big", "evals")]


# --- a model's server -----------------------------------------------------------------------------


def server_of(
    folder: Path, deployment: dict[str, Any], **execution: Any
) -> tuple[Any, Any, list[str]]:
    """A run, its server, and what keeps that from coming up."""
    content = {
        "execution": {
            "type": "kubernetes",
            "output_dir": str(folder),
            "volumes": [{"claim": "shared", "mount_path": str(folder)}],
            **execution,
        },
        "deployment": {"served_model_name": "m", **deployment},
        "evaluation": {"tasks": [{"name": "lm-evaluation-harness.ifeval"}]},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    found = plan([file], {}, ROOT / "config" / "catalogue")
    run = found[0] if isinstance(found, tuple) else found
    server = run.servers["model"]
    return run, server, [str(each) for each in Servers().check(run, server, "image")]


def test_a_server_is_what_the_clients_own_types_know(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    run, server, problems = server_of(
        tmp_path,
        {
            "type": "vllm",
            "image": "vllm/vllm-openai:v0.11.0",
            "checkpoint_path": str(tmp_path / "weights"),
            "tensor_parallel_size": 2,
            "env_vars": {"HF_TOKEN": "host:MY_TOKEN", "PLAIN": "lit:$(HOME)"},
        },
        secret="keys",
        server={"cpus": 8, "mem_mb": 64000, "pod": {"nodeSelector": {"pool": "gpu"}}},
    )
    assert problems == []
    content = content_of(run, server, run.config.execution, server.image)
    checked(content["deployment"], "V1Deployment", strict=True)
    checked(content["service"], "V1Service", strict=True)
    pod = content["deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert container["resources"] == {
        "requests": {"cpu": "8", "memory": "64000M"},
        "limits": {"nvidia.com/gpu": "2"},
    }
    assert {"name": "PLAIN", "value": "$$(HOME)"} in container["env"]
    reference = {"secretKeyRef": {"name": "keys", "key": "MY_TOKEN"}}
    assert {"name": "HF_TOKEN", "valueFrom": reference} in container["env"]
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert mounts["/checkpoint"]["subPath"] == "weights" and mounts["/checkpoint"]["readOnly"]
    assert str(tmp_path) in mounts and "/dev/shm" in mounts
    assert content["service"]["spec"]["ports"][0]["port"] == 8000


def test_what_no_pod_can_be_is_told_all_at_once_with_its_place(tmp_path: Path) -> None:
    elsewhere = tmp_path.parent
    _, _, problems = server_of(
        tmp_path,
        {
            "type": "generic",
            "image": "i:1",
            "command": "serve",
            "gpus": "all",
            "checkpoint_path": str(elsewhere),
            "env_vars": {"TOKEN": "host:TOKEN"},
        },
    )
    told = "\n".join(problems)
    assert "deployment.gpus: Kubernetes gives a number of GPUs" in told
    assert f"{elsewhere} (mounted at /checkpoint) is on no volume" in told
    assert "deployment.env_vars: values stay on this machine, and the server needs TOKEN" in told
