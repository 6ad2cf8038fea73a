"""Reads the questions that lie beside the task file, from whatever folder lm-eval runs in."""

import json
from pathlib import Path

import datasets


def load(questions: str, **metadata: object) -> datasets.DatasetDict:
    """The split `test` of the file `questions`: one JSON object per line.

    lm-eval passes the task's `dataset_kwargs` and, with them, its metadata.
    """
    lines = Path(__file__).with_name(questions).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return datasets.DatasetDict(test=datasets.Dataset.from_list(rows))
