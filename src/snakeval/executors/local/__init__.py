"""This machine: benchmarks are processes of the controller, servers have a session of their own."""

from __future__ import annotations

from snakeval.executors import base


class Executor(base.Executor):
    name, title, elsewhere = "local", "this machine", False

    @property
    def servers(self) -> base.Servers:
        from snakeval.executors.local.server import Servers

        return Servers()
