"""What the NeMo Evaluator Launcher makes of configs: run by an interpreter that has it installed.

`python theirs.py FILE...` prints a JSON object: for each file what it is refused for (`refused`),
or what `--dry-run` renders. Nothing is read from its printed text: the functions that render are
watched. A dry run asks no registry here: of an image that the packaged list of tasks knows (under
any tag) the tasks are those of that list, of another image none.

Values that the user must give (`???`) are filled in, and told under `filled`.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from nemo_evaluator_launcher.api import functional
from nemo_evaluator_launcher.api.types import RunConfig
from nemo_evaluator_launcher.common import auxiliary_deployments, mapping
from nemo_evaluator_launcher.executors.lepton import executor as lepton
from nemo_evaluator_launcher.executors.local import executor as local
from nemo_evaluator_launcher.executors.slurm import executor as slurm
from omegaconf import DictConfig, OmegaConf

PLACEHOLDERS = {
    "url": "https://endpoint.example.com/v1/chat/completions",
    "output_dir": "/shared/results",
    "checkpoint_path": "/shared/weights",
    "command": "serve --port 8000",
    "image": "registry.example.com/server:1",
    "tracking_uri": "http://mlflow.example.com:5000",
}
"""What stands for a value that the user must give, by its key; for others a word."""


def main() -> None:
    _look_up_images_in_the_packaged_list()
    json.dump({file: rendered(str(Path(file).resolve())) for file in sys.argv[1:]}, sys.stdout)


def rendered(file: str) -> dict[str, Any]:
    """What a dry run of one config renders."""
    said = io.StringIO()
    watched = Watched()
    try:
        with contextlib.redirect_stdout(said), watched, tempfile.TemporaryDirectory() as folder:
            cfg = RunConfig.from_hydra(config=file)
            OmegaConf.set_struct(cfg, False)
            filled = fill(cfg)
            shown = OmegaConf.to_container(cfg, resolve=True)
            _give_variables(shown)
            if cfg.execution.type != "slurm":  # its dry run writes nothing there
                cfg.execution.output_dir = folder
            functional.run_eval(cfg, dry_run=True)
    except BaseException as error:  # whatever it is, the config is refused
        return {"refused": f"{type(error).__name__}: {error}"}
    if "Configuration invalid:" in said.getvalue():  # Lepton's executor says it and goes on
        return {"refused": said.getvalue().partition("Configuration invalid:")[2].strip()}
    return {"filled": filled, "config": shown, **watched.found(cfg)}


def fill(node: Any, path: str = "") -> dict[str, str]:
    """Fills in what the user must give; returns it, by dotted key."""
    found: dict[str, str] = {}
    keys = range(len(node)) if OmegaConf.is_list(node) else list(node.keys())
    for key in keys:
        where = f"{path}.{key}".lstrip(".")
        if OmegaConf.is_missing(node, key):
            handle = OmegaConf.is_dict(node) and node.get("hf_model_handle")
            if key == "checkpoint_path" and handle:  # the config's own way to leave it out
                node[key] = None
                continue
            found[where] = node[key] = PLACEHOLDERS.get(str(key), f"given-{key}")
            continue
        inner = node._get_node(key)
        if OmegaConf.is_config(inner) and not inner._is_interpolation() and not inner._is_none():
            found.update(fill(inner, where))
    return found


def _give_variables(config: Any) -> None:
    """Variables of the host that a config names have a value."""
    for name in re.findall(r"host:(\w+)", json.dumps(config)):
        os.environ.setdefault(name, "given")
    key = ((config.get("target") or {}).get("api_endpoint") or {}).get("api_key_name")
    if key:
        os.environ.setdefault(str(key), "given")


class Watched:
    """Remembers what the executors' own functions are asked for and return."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.definitions: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, str]] = []
        self.deployment: dict[str, str] = {}
        self.local: list[dict[str, Any]] = []
        self.slurm: list[str] = []
        self.health: list[Any] = []
        self._put_back: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> None:
        for module in (local, slurm):
            self._watch(module, "get_eval_factory_command", self._command)
            self._watch(
                module,
                "collect_eval_env_vars",
                lambda *_, back: self.evaluations.append(_sources(back)),
            )
            self._watch(
                module,
                "collect_deployment_env_vars",
                lambda *_, back: self.deployment.update(_sources(back)),
            )
        self._watch(
            slurm, "_create_slurm_sbatch_script", lambda *_, back, **__: self.slurm.append(back.cmd)
        )
        self._watch(
            slurm, "resolve_endpoint_readiness_timeout", lambda *_, back: self.health.append(back)
        )
        self._watch(
            lepton,
            "get_task_definition_for_job",
            lambda *_, back, **__: self.definitions.append(dict(back)),
        )
        template = local.jinja2.Template
        watched = self

        class Template(template):  # type: ignore[valid-type, misc]
            def render(self, *words: Any, **values: Any) -> str:
                text: str = super().render(*words, **values)
                if len(values["evaluation_tasks"]) == 1:
                    watched.local.append({**values, "script": text})
                return text

        self._replace(local.jinja2, "Template", Template)

    def __exit__(self, *_: Any) -> None:
        for module, name, value in reversed(self._put_back):
            setattr(module, name, value)

    def _replace(self, module: Any, name: str, value: Any) -> None:
        self._put_back.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    def _watch(self, module: Any, name: str, take: Any) -> None:
        inner = getattr(module, name)

        def outer(*words: Any, **values: Any) -> Any:
            back = inner(*words, **values)
            take(*words, back=back, **values)
            return back

        self._replace(module, name, outer)

    def _command(self, *words: Any, back: Any, **values: Any) -> None:
        self.commands.append(back.cmd)
        given = [*words, *values.values()]
        self.definitions.append(dict(given[2]))

    def _evaluation(self, *_: Any, back: Any, **__: Any) -> None:
        self.evaluations.append(_sources(back))

    def _of_server(self, *_: Any, back: Any, **__: Any) -> None:
        self.deployment.update(_sources(back))

    def _script(self, *_: Any, back: Any, **__: Any) -> None:
        self.slurm.append(back.cmd)

    def _health(self, *_: Any, back: Any, **__: Any) -> None:
        self.health.append(back)

    def _definition(self, *_: Any, back: Any, **__: Any) -> None:
        self.definitions.append(dict(back))

    def found(self, cfg: DictConfig) -> dict[str, Any]:
        """Everything in one form, whichever executor it was."""
        kind = str(cfg.execution.type)
        tasks = [
            self._task(cfg, kind, number, entry)
            for number, entry in enumerate(cfg.evaluation.tasks)
        ]
        return {
            "executor": kind,
            "tasks": tasks,
            "server": self._server(cfg, kind),
            "judges": _judges(cfg),
        }

    def _task(self, cfg: DictConfig, kind: str, number: int, entry: DictConfig) -> dict[str, Any]:
        definition = self.definitions[number]
        found = {
            "name": entry.name,
            "image": entry.get("container") or definition["container"],
            "endpoint_type": definition["endpoint_type"],
            "unlisted": bool(definition.get("is_unlisted")),
        }
        if kind == "lepton":  # its dry run renders nothing more
            return found
        found["run_config"] = _run_config(self.commands[number])
        found["env"] = self.evaluations[number]
        if kind == "local":
            task = self.local[number]["evaluation_tasks"][0]
            source, target = task["dataset_mount_host"], task["dataset_mount_container"]
            found["mounts"] = [f"{source}:{target}"] if source else []
            found["docker"] = str(self.local[number]["extra_docker_args"] or "")
            return found
        script = self.slurm[number]
        client = script.partition("# evaluation client\n")[2]
        found["mounts"] = _mounts(client)
        found["sbatch"] = _flags(script)
        found["mount_home"] = "--no-container-mount-home" not in client.partition("bash -c")[0]
        return found

    def _server(self, cfg: DictConfig, kind: str) -> dict[str, Any] | None:
        if cfg.deployment.type == "none":
            return None
        deployment = OmegaConf.to_container(cfg.deployment, resolve=True)
        assert isinstance(deployment, dict)
        found = {
            "image": deployment.get("image"),
            "command": deployment.get("command"),
            "pre_cmd": deployment.get("pre_cmd") or "",
            "port": deployment.get("port"),
            "endpoints": deployment.get("endpoints"),
            "env": self.deployment,
        }
        if kind == "local":
            task = self.local[0]["evaluation_tasks"][0]["deployment"]
            found["mounts"] = task["mounts"]
            found["ready_timeout"] = self.local[0]["endpoint_readiness_timeout"]
        if kind == "slurm":
            script = self.slurm[0]
            started = script.partition("# deployment server\n")[2]
            found["mounts"] = _mounts(started)
            found["ready_timeout"] = self.health[0]
            found["sbatch"] = _flags(script)
        return found


def _flags(script: str) -> dict[str, str]:
    """What a batch script asks for, by the names of sbatch's flags."""
    found = {}
    own = script.partition("\nTASK_DIR=")[0]  # not those of the export's job behind it
    for line in re.findall(r"^#SBATCH --(.*)$", own, re.M):
        name, _, value = line.replace("=", " ", 1).partition(" ")
        found[name] = value.strip("'")
    return found


def _mounts(script: str) -> list[str]:
    """The folders that the first container of a script sees, but for its results."""
    listed = re.search(r"--container-mounts (\S+)", script)
    found = (listed[1] if listed else "").split(",")
    return [each for each in found if each and not each.endswith(":/results")]


def _judges(cfg: DictConfig) -> dict[str, Any]:
    found = {}
    for name, given in (cfg.get("auxiliary_deployments") or {}).items():
        if given.get("type", "none") != "none":
            found[name] = {
                "image": given.get("image"),
                "command": auxiliary_deployments.resolve_deployment_command(given),
                "port": given.get("port"),
                "endpoints": OmegaConf.to_container(given.endpoints, resolve=True),
            }
    return found


def _sources(parsed: dict[str, Any]) -> dict[str, str]:
    return {name: value.PREFIX + next(iter(vars(value).values())) for name, value in parsed.items()}


def _run_config(command: str) -> Any:
    """The run config that a command writes, without what the launcher adds about itself."""
    [text] = re.findall(r'echo "([A-Za-z0-9+/=]*)" \| base64 -d > config_ef\.yaml', command)
    content = yaml.safe_load(base64.b64decode(text))
    metadata = content.get("metadata", {})
    for own in ("launcher_resolved_config", "versioning", "launcher_command"):
        metadata.pop(own, None)
    return content


def _look_up_images_in_the_packaged_list() -> None:
    tasks = functools.cache(mapping.load_tasks_from_tasks_file)  # of 421 tasks, and asked for each
    mapping.load_tasks_from_tasks_file = tasks
    real = mapping.load_tasks_mapping

    def load(mapping_toml: Any = None, *, from_container: str | None = None) -> Any:
        known = real(mapping_toml)
        if from_container is None:
            return known
        name = re.sub(r"(@sha256:\w+|:[^/]*)$", "", from_container)
        return {
            key: {**task, "container": from_container}
            for key, task in known.items()
            if re.sub(r"(@sha256:\w+|:[^/]*)$", "", task["container"]) == name
        }

    mapping.load_tasks_mapping = load


if __name__ == "__main__":
    main()
