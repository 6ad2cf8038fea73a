"""What jobs refer to and a namespace lacks, each with what to do about it."""

from __future__ import annotations

import json
from collections.abc import Collection

from snakemake_executor_plugin_kubernetes_jobs.client import Kubernetes
from snakemake_executor_plugin_lepton.client import QUESTION_PATIENCE, Denied, Missing, patiently


def claims(
    cluster: Kubernetes, names: Collection[str], patience: float = QUESTION_PATIENCE
) -> list[str]:
    """Volume claims that are not there. Raises ServiceError.

    patience  seconds for which a question is repeated
    """
    try:
        return [
            f"namespace '{cluster.namespace}' has no volume claim '{name}': create it, or "
            "correct the name of the volume"
            for name in sorted(names)
            if not patiently(lambda name=name: cluster.has_claim(name), patience)  # type: ignore[misc]
        ]
    except Denied:  # may create jobs, and not look at claims: a pod will say
        return []


def keys(
    cluster: Kubernetes,
    named: Collection[tuple[str, str]],
    patience: float = QUESTION_PATIENCE,
) -> list[str]:
    """Keys of Secrets that are not there, with the command that makes them. Raises ServiceError.

    named  Secrets and their keys
    """
    found = []
    for secret in sorted({name for name, _ in named}):
        try:
            known = patiently(lambda secret=secret: cluster.secret_keys(secret), patience)  # type: ignore[misc]
        except Missing:
            known = None
        except Denied:  # may create jobs, and not read Secrets: a pod will say
            continue
        lacking = sorted({key for name, key in named if name == secret} - (known or set()))
        if lacking:
            found.append(_lacking(cluster.namespace, secret, lacking, is_there=known is not None))
    return found


def _lacking(namespace: str, secret: str, keys: list[str], is_there: bool) -> str:
    """What is missing of a Secret, and the command that adds it."""
    what = f"a Secret '{secret}' without" if is_there else f"no Secret '{secret}' for"
    words = " ".join(f"--from-literal={key}=..." for key in keys)
    command = f"create secret generic {secret} {words}"
    if is_there:
        values = json.dumps({"stringData": dict.fromkeys(keys, "...")})
        command = f"patch secret {secret} -p '{values}'"
    lacking = f"namespace '{namespace}' has {what} {', '.join(keys)}"
    return f"{lacking}: `kubectl -n {namespace} {command}`"
