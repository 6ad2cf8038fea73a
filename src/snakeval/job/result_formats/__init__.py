"""The result formats: what a finished work folder holds, as scores and coverage.

A reader per format (`READERS`), in a module of its own; each raises CheckFailed where its files are
missing, truncated, without a finite number, of another model, or of repeats that a cache has
collapsed. What the harnesses leave was found by running lm-eval 0.4.13 and nemo-evaluator 0.2.8
with nvidia-lm-eval 26.3 into every failure named here.

A copy lies in every run folder's `lib/`, beside `verify.py`; it needs Python 3.9, and PyYAML only
where YAML must be read.
"""

from . import declared, lm_eval, nemo
from .files import direction, has, shown
from .held import check_model, check_repeats
from .lm_eval import LmEval, find_lm_eval
from .model import (
    EVERY_ANSWER_EMPTY,
    HIGHER,
    LOWER,
    UNKNOWN,
    CheckFailed,
    Coverage,
    Results,
    Score,
    Spec,
)

__all__ = [
    "EVERY_ANSWER_EMPTY",
    "HIGHER",
    "LOWER",
    "READERS",
    "UNKNOWN",
    "CheckFailed",
    "Coverage",
    "LmEval",
    "Results",
    "Score",
    "Spec",
    "check_model",
    "check_repeats",
    "direction",
    "find_lm_eval",
    "has",
    "shown",
]

READERS = {"nemo": nemo.read, "lm_eval": lm_eval.read, "scores": declared.read}
