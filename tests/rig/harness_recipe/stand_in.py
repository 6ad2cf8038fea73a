"""In place of packages that a harness imports for models of its own, which it does not load where the
model is at an endpoint (a gigabyte each): a module that has every name, and does nothing.

`stand_in.pth` imports it at each start of Python.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGES = ("torch", "accelerate")


class Nothing(type):
    """A class that has every attribute, can be inherited from, and decorates."""

    def __getattr__(cls, name):
        return nothing(name)

    def __call__(cls, *given, **named):
        return given[0] if len(given) == 1 and callable(given[0]) else super().__call__()


def nothing(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Nothing(name, (), {"__init__": lambda self, *given, **named: None})


class Finder(MetaPathFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        known = name.partition(".")[0] in PACKAGES
        return ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec):
        module = ModuleType(spec.name)
        module.__version__ = "0"
        module.__getattr__ = nothing
        return module

    def exec_module(self, module):
        pass


sys.meta_path.append(Finder())
