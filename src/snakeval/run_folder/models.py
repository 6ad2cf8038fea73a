"""What the models of several runs are called beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def names_of_models(models: Sequence[str], spare: Sequence[str]) -> list[str]:
    """What each model of a sweep is called beside the others: the end of its name (`org/qwen-7b`
    is `qwen-7b`) where that tells them apart, else the name; where that is one, with a word of
    `spare`."""
    short = [model.rstrip("/").rpartition("/")[2] for model in models]
    names = short if len(set(short)) == len(set(models)) else list(models)
    times = Counter(models)
    return [
        f"{name} ({word})" if times[model] > 1 else name
        for model, name, word in zip(models, names, spare, strict=True)
    ]
