"""/workspace, secrets and node groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leptonai.api.v2.types.dedicated_node_group import (
    DedicatedNodeGroup,
    DedicatedNodeGroupSpec,
    DedicatedNodeGroupStatus,
)
from leptonai.api.v2.types.secret import SecretItem
from leptonai.api.v2.types.workspace import WorkspaceInfo

from .wire import Refused, Request, Response, Route, dumped, parse

if TYPE_CHECKING:
    from .server import LeptonService


class Workspace:
    def __init__(self, service: LeptonService) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/workspace", self._info),
            Route("GET", "/usersecrets", self._secrets),
            Route("POST", "/usersecrets", self._add_secrets),
            Route("DELETE", "/usersecrets/([^/]+)", self._remove_secret),
            Route("GET", "/dedicated-node-groups", self._node_groups),
        ]

    def _info(self, _: Request) -> Response:
        unlimited = {"cpu": 0, "memory": 0, "accelerator_num": 0}
        content = {
            "build_time": "2026-01-01",
            "git_commit": "rig",
            "workspace_name": self._service.workspace,
            "workspace_tier": "enterprise",
            "workspace_state": "normal",
            "supported_shapes": {},
            "workspace_disk_usage_bytes": 0,
            "workloads": dict.fromkeys(
                (
                    "num_deployments",
                    "num_jobs",
                    "num_pods",
                    "num_secrets",
                    "num_image_pull_secrets",
                ),
                0,
            ),
            "resource_quota": {"limit": unlimited, "used": unlimited},
            "features": {"enable_new_deployment_api": self._service.new_deployment_api},
        }
        WorkspaceInfo(**content)  # as the SDK will read it
        return Response(content)

    def _secrets(self, _: Request) -> Response:
        return Response([{"name": name} for name in self._service.secrets])

    def _add_secrets(self, request: Request) -> Response:
        for item in request.json:
            given = parse(SecretItem, item)
            if given.name in self._service.secrets:
                raise Refused(409, f"a secret {given.name} exists")
            self._service.secrets[given.name] = str(given.value)
            self._service.secrets_made.append(str(given.value))
        return Response({}, status=201)

    def _remove_secret(self, request: Request) -> Response:
        if self._service.secrets.pop(request.words[0], None) is None:
            raise Refused(404, f"no secret {request.words[0]}")
        return Response({})

    def _node_groups(self, _: Request) -> Response:
        return Response(
            [
                dumped(
                    DedicatedNodeGroup(
                        metadata={"id": id_, "name": name},
                        spec=DedicatedNodeGroupSpec(),
                        status=DedicatedNodeGroupStatus(ready_nodes=1),
                    )
                )
                for name, id_ in self._service.node_groups.items()
            ]
        )
