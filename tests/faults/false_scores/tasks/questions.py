"""Ten sums, and a metric whose mean is no number."""

import math

import datasets


def load(**_):
    """Called by lm-eval; its own arguments to a loader are of no use here."""
    rows = [{"question": f"What is {n} + {n}?", "answer": str(n + n)} for n in range(10)]
    return {"test": datasets.Dataset.from_list(rows)}


def not_a_number(_items):
    return math.nan
