"""An environment of its own with the launcher and NVIDIA's core, whose pins are not ours.

Made in a few seconds; SNAKEVAL_LAUNCHER_PYTHON names the interpreter of another.
"""

from __future__ import annotations

import os
from pathlib import Path

from .own_environment import python_with

PACKAGES = ("nemo-evaluator-launcher==0.2.6", "nemo-evaluator==0.2.8")


def launcher_python() -> Path:
    """Its interpreter. Raises RigUnavailable where it cannot be made."""
    named = os.environ.get("SNAKEVAL_LAUNCHER_PYTHON")
    return Path(named) if named else python_with("launcher-0.2.6", *PACKAGES)
