"""Bodies are what the client's own types know, and nothing else; what the server refuses beside
that, in its words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kubernetes import client

from ..lepton_service.wire import Refused

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


class Body:
    """As `ApiClient` wants an answer that it makes an object of."""

    def __init__(self, content: Any) -> None:
        import json

        self.data = json.dumps(content)


def checked_job(content: dict[str, Any], strict: bool) -> dict[str, Any]:
    """A Job as the server takes it. Raises Refused: 400 for fields that no type has, 422 for what
    is missing or wrong."""
    _check_fields(content, "V1Job", strict)
    name = content["metadata"]["name"]
    if wrong := list(_wrong(content)):
        raise Refused(422, f'Job.batch "{name}" is invalid: {"; ".join(wrong)}')
    return content


def checked(content: dict[str, Any], kind: str, strict: bool) -> dict[str, Any]:
    """A Deployment or a Service as the server takes it. Raises Refused."""
    _check_fields(content, kind, strict)
    name = content["metadata"]["name"]
    if not NAME.fullmatch(name):
        raise Refused(422, f'{kind} "{name}" is invalid: metadata.name: Invalid value')
    if kind == "V1Deployment":
        wanted = content["spec"]["selector"]["matchLabels"]
        labels = content["spec"]["template"]["metadata"]["labels"]
        if not wanted.items() <= labels.items():
            raise Refused(
                422, f'Deployment.apps "{name}" is invalid: spec.template.metadata.labels'
            )
    return content


def _check_fields(content: dict[str, Any], kind: str, strict: bool) -> None:
    unknown = list(_unknown(content, kind, ""))
    if strict and unknown:
        fields = ", ".join(f'unknown field "{each}"' for each in unknown)
        raise Refused(400, f"strict decoding error: {fields}")
    try:
        client.ApiClient().deserialize(Body(content), kind)
    except ValueError as error:
        raise Refused(422, f"{kind[2:]} is invalid: {error}") from None


def _unknown(content: Any, kind: str, place: str) -> Iterator[str]:
    """Fields that a type of the client does not have."""
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        for number, each in enumerate(content or []):
            yield from _unknown(each, match[1], f"{place}[{number}]")
        return
    if match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        for key, each in (content or {}).items():
            yield from _unknown(each, match[1], f"{place}.{key}")
        return
    model = getattr(client, kind, None)
    if model is None or not isinstance(content, dict):
        return
    fields = {name: model.openapi_types[own] for own, name in model.attribute_map.items()}
    for key, each in content.items():
        inside = f"{place}.{key}".lstrip(".")
        if key not in fields:
            yield inside
        else:
            yield from _unknown(each, fields[key], inside)


def _wrong(job: dict[str, Any]) -> Iterator[str]:
    metadata, spec = job["metadata"], job["spec"]
    pod = spec["template"]["spec"]
    if not NAME.fullmatch(metadata["name"]):
        yield f'metadata.name: Invalid value: "{metadata["name"]}"'
    for labels in (metadata.get("labels"), spec["template"].get("metadata", {}).get("labels")):
        for key, value in (labels or {}).items():
            if not LABEL.fullmatch(value):
                yield f'metadata.labels: Invalid value: "{value}" ({key})'
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield "spec.template.spec.restartPolicy: Required value"
    if spec.get("podFailurePolicy") and pod.get("restartPolicy") != "Never":
        yield 'spec.template.spec.restartPolicy: only "Never" with podFailurePolicy'
    if spec.get("podFailurePolicy") and spec.get("podReplacementPolicy") != "Failed":
        yield "spec.podReplacementPolicy: must be Failed with podFailurePolicy"
    volumes = {volume["name"] for volume in pod.get("volumes") or []}
    for container in pod["containers"]:
        at = [mount["mountPath"] for mount in container.get("volumeMounts") or []]
        if len(set(at)) != len(at):
            yield "spec.template.spec.containers[0].volumeMounts.mountPath: must be unique"
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in volumes:
                yield f'volumeMounts.name: Not found: "{mount["name"]}"'
            if mount.get("subPath", "").startswith("/") or ".." in mount.get("subPath", ""):
                yield "volumeMounts.subPath: must be a relative path"
        for kind, amounts in (container.get("resources") or {}).items():
            for amount in amounts.values():
                if not QUANTITY.fullmatch(str(amount)):
                    yield f'resources.{kind}: Invalid value: "{amount}"'
        for variable in container.get("env") or []:
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if reference and variable.get("value"):
                yield f"env.{variable['name']}: may not have both value and valueFrom"
