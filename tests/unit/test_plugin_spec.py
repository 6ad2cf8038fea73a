"""What a job asks the service for, from resources and settings."""

import json
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_lepton import spec
from snakemake_executor_plugin_lepton.settings import ExecutorSettings
from snakemake_executor_plugin_lepton.storage import Unusable

SETTINGS = ExecutorSettings(
    image="set:1", resource_shape="cpu.small", mounts="node-nfs:fs1:/a:/shared", node_group="g"
)


def wanted(settings: ExecutorSettings = SETTINGS, **resources: Any) -> spec.Wanted:
    return spec.wanted(resources, settings)


def test_resources_win_over_settings() -> None:
    found = wanted(lepton_image="mine:2", lepton_resource_shape="cpu.large", lepton_node_group="h")
    assert (found.image, found.shape, found.node_group) == ("mine:2", "cpu.large", "h")
    assert (wanted().image, wanted().shape, wanted().node_group) == ("set:1", "cpu.small", "g")


def test_the_image_is_the_resources_then_the_rules_then_the_settings() -> None:
    rules = "docker://rule:3"
    assert spec.wanted({"lepton_image": "mine:2"}, SETTINGS, rules).image == "mine:2"
    assert spec.wanted({}, SETTINGS, rules).image == "rule:3"
    assert spec.wanted({}, SETTINGS, None).image == "set:1"


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("image", "lepton_image"),
        ("resource_shape", "--lepton-resource-shape"),
        ("mounts", "--lepton-mounts"),
    ],
)
def test_what_is_missing_is_named_with_its_setting(missing: str, said: str) -> None:
    settings = ExecutorSettings(image="i", resource_shape="s", mounts="a:/b:/c")
    setattr(settings, missing, None)
    with pytest.raises(Unusable, match=said):
        wanted(settings)


@pytest.mark.parametrize("place", ["/", "/usr", "/etc/", "/var"])
def test_storage_is_not_mounted_over_the_system(place: str) -> None:
    with pytest.raises(Unusable, match="system folder"):
        wanted(lepton_mounts=f"node-nfs:fs1:/a:{place}")


@pytest.mark.parametrize(
    "text", ["fs1", "fs1:/a", "node-nfs:fs1:a:/b", "[1]", "[{", '[{"from":1}]']
)
def test_a_list_of_mounts_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Unusable, match="no list of mounts"):
        wanted(lepton_mounts=text)


def test_variables_are_secrets_by_reference_or_text_that_was_called_text() -> None:
    found = wanted(lepton_env="HF_TOKEN=secret:hf-read 'NAME=lit:two words'").variables
    assert [variable.body() for variable in found] == [
        {"name": "HF_TOKEN", "value_from": {"secret_name_ref": "hf-read"}},
        {"name": "NAME", "value": "two words"},
    ]
    same = wanted(lepton_env=json.dumps({"HF_TOKEN": "secret:hf-read", "NAME": "lit:two words"}))
    assert same.variables == found


@pytest.mark.parametrize(
    "text", ["KEY=sk-123", "KEY", "KEY=secret:", "1KEY=lit:x", "A-B=lit:x", "KEY=lit:sk-123'"]
)
def test_a_value_that_nobody_has_called_text_is_refused(text: str) -> None:
    with pytest.raises(Unusable) as refused:
        wanted(lepton_env=text)
    assert "sk-123" not in str(refused.value)


def test_variables_of_the_service_are_not_overwritten() -> None:
    with pytest.raises(Unusable, match="LEPTON_WORKSPACE_ID"):
        wanted(lepton_env="LEPTON_WORKSPACE_ID=lit:x")


@pytest.mark.parametrize(
    "rule", ["a", "evaluate", "A_rule.with-ODD:name", "é" * 50, "x" * 80, "snakemake", "9"]
)
def test_names_are_those_that_the_sdk_takes(rule: str) -> None:
    from leptonai.api.v2.job_validation import validate_job_name

    name = spec.name_of(rule, "1a2b3c4d")
    validate_job_name(name)
    assert name.endswith("-1a2b3c4d")


@pytest.mark.parametrize("text", ["2026-11-21-10-30-45-abc12345", "a b", "x" * 64, "-x", "é"])
def test_labels_hold_any_text(text: str) -> None:
    value = spec.label_value(text)
    assert len(value) <= 63
    assert value.replace("-", "").replace(".", "").isalnum() and value.isascii()


def test_a_time_limit_that_snakemake_rounds_to_none_is_refused() -> None:
    from snakemake.resources import Resource

    for given, seconds in ((90, 5400), ("90m", 5400), ("30s", 60), (1.5, 120)):
        assert wanted(runtime=Resource("runtime", given).value).limit == seconds
    assert wanted().limit is None
    for none in (0, 0.4, -5):
        with pytest.raises(Unusable, match="write 1 or more, or leave it out"):
            wanted(runtime=Resource("runtime", none).value)


def test_the_body_is_one_that_the_sdk_knows_and_retries_nothing() -> None:
    from leptonai.api.v2.job_validation import validate_job_create
    from leptonai.api.v2.types.job import LeptonJob

    asked = wanted(
        lepton_env="A=secret:b",
        lepton_image_pull_secrets="ngc, other",
        lepton_priority_class="mid-4000",
        lepton_shared_memory_mb=512,
        runtime=90,
    )
    job = LeptonJob(**spec.body("name-1", asked, ["bash", "x"], {"snakemake-start": "s"}))
    validate_job_create(job)

    assert asked.limit == 5400
    assert job.spec.container.image == "set:1" and job.spec.container.command == ["bash", "x"]
    assert job.spec.affinity.allowed_dedicated_node_groups == ["g"]
    assert job.spec.image_pull_secrets == ["ngc", "other"]
    assert job.spec.queue_config.priority_class == "mid-4000"
    assert job.spec.shared_memory_size == 512
    assert (job.spec.max_failure_retry, job.spec.max_job_failure_retry) == (0, 0)
    assert job.spec.ttl_seconds_after_finished == spec.DAY  # the service's 600 s are too few
    assert job.spec.mounts[0].mount_path == "/shared"


def test_the_packages_import_neither_an_sdk_nor_anything_heavy() -> None:
    import subprocess
    import sys

    heavy = ("leptonai", "kubernetes", "pydantic", "requests", "pandas", "loguru", "snakeval")
    code = f"""
import sys, snakemake_interface_executor_plugins.executors.remote
before = set(sys.modules)
import snakemake_executor_plugin_lepton, snakemake_executor_plugin_kubernetes_jobs
print([name for name in {heavy!r} if name in sys.modules.keys() - before])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout


def test_snakemake_finds_the_plugin_by_its_name() -> None:
    import pkgutil

    import snakemake_executor_plugin_lepton as plugin

    assert "snakemake_executor_plugin_lepton" in {module.name for module in pkgutil.iter_modules()}
    assert plugin.common_settings.non_local_exec
    assert not plugin.common_settings.implies_no_shared_fs
    for name, setting in plugin.ExecutorSettings.__dataclass_fields__.items():
        assert len(setting.metadata["help"]) > 20 and setting.metadata["env_var"], name


def test_settings_are_options_and_variables_of_snakemake(monkeypatch: pytest.MonkeyPatch) -> None:
    from snakemake.cli import get_argument_parser
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    monkeypatch.setenv("SNAKEMAKE_LEPTON_NODE_GROUP", "cpus")
    given = ["--executor", "lepton", "--lepton-resource-shape", "cpu.small"]
    arguments = get_argument_parser().parse_args(given)
    settings = ExecutorPluginRegistry().get_plugin("lepton").get_settings(arguments)
    assert (settings.resource_shape, settings.node_group) == ("cpu.small", "cpus")


def test_the_job_script_is_in_the_package() -> None:
    import snakemake_executor_plugin_lepton as plugin

    assert (Path(str(plugin.__file__)).parent / "job.sh").is_file()
