"""Keeps pandas out of a start of Snakemake, which imports every installed executor plugin, wherever
its jobs run: that of Slurm imports pandas for a report on efficiency that is made on request only.
It is 0.4 s of a processor for each start, and for each job on a cluster.

`make` puts `snakeval.pth` beside the installed packages: Python imports this module when a command
of Snakemake's starts, and without it all works as well, a little later.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

HEAVY = "snakemake_executor_plugin_slurm.efficiency_report"


class Later(MetaPathFinder, Loader):
    """In place of a module one whose functions import it when they are called."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == HEAVY else None

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__getattr__"] = self._function

    def _function(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *given, **named: getattr(self._module(), name)(*given, **named)

    def _module(self) -> ModuleType:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            sys.modules.pop(HEAVY, None)
        return importlib.import_module(HEAVY)


sys.meta_path.insert(0, Later())
