"""/workspace, secrets and node groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leptonai.api.v2.types.dedicated_node_group import (
    DedicatedNodeGroup,
    DedicatedNodeGroupSpec,
    DedicatedNodeGroupStatus,
)
from leptonai.api.v2.types.workspace import WorkspaceInfo

from .wire import Request, Response, Route, dumped

if TYPE_CHECKING:
    from .server import LeptonService


class Workspace:
    def __init__(self, service: LeptonService) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/workspace", self._info),
            Route("GET", "/usersecrets", self._secrets),
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
