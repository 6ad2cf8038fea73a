"""In place of packages that a harness imports for models of its own (a gigabyte each), which it
does not load where the model is at an endpoint: a module that has every name, and does nothing.

`stand_in.pth` imports it at each start of Python.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGES = ("torch", "accelerate", "transformers")


class Nothing(type):
    """A class that has every attribute, can be inherited from, and decorates, as its objects do."""

    def __getattr__(cls, name):
        return nothing(name)

    def __call__(cls, *given, **named):
        return decorated(super().__call__(), *given)


def decorated(thing, *given, **named):
    return given[0] if len(given) == 1 and callable(given[0]) else thing


def nothing(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Nothing(name, (), {"__call__": decorated})


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


sys.meta_path.insert(0, Finder())
