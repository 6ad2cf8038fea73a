"""Run configs under the code of NVIDIA's core, where `nemo-evaluator` is installed beside us.

A process of its own (`python -m snakeval.harness.core_check`): importing the core sets up logging
for the whole process. It reads a JSON object of run configs, and prints one with what is wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any


def refused(run_configs: Mapping[str, Any]) -> dict[str, str]:
    """Of run configs those that an image would end with at once, and why. What only an image knows
    (its tasks) is not looked at; without the core, nothing is."""
    if not run_configs or find_spec("nemo_evaluator") is None:
        return {}
    ended = subprocess.run(
        [sys.executable, "-m", "snakeval.harness.core_check"],
        input=json.dumps(run_configs),
        capture_output=True,
        text=True,
        check=False,
    )
    try:  # the core logs to the same place
        found: dict[str, str] = json.loads(ended.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):  # another version of it; the images have their own
        return {}
    return found


def _said(error: Any) -> str:
    """Its words, without the values that they are about: those may be secret."""
    if not hasattr(error, "errors"):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())


def main() -> None:
    from nemo_evaluator.adapters.adapter_config import AdapterConfig
    from nemo_evaluator.api.api_dataclasses import EvaluationConfig, EvaluationTarget

    found = {}
    for name, config in json.load(sys.stdin).items():
        endpoint = dict(config["target"]["api_endpoint"])
        try:
            AdapterConfig.get_validated_config(config)
            endpoint.pop("adapter_config", None)
            EvaluationConfig(**config["config"])
            EvaluationTarget(api_endpoint=endpoint)
        except ValueError as error:  # pydantic's too
            found[name] = " ".join(_said(error).split())[:400]
    print()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
