"""Reads the questions that lie beside the task files.

lm-eval's own way to a local file (`dataset_path: json` with `data_files`) takes paths from the
working directory and copies the questions into the Hugging Face cache. A function named in the
task file finds them from any folder and writes nothing, also where this folder is read-only.
"""

import json
from pathlib import Path

import datasets


def load(questions: str, **metadata: object) -> datasets.DatasetDict:
    """The split `test` of the file `questions`, one JSON object per line, held in memory.

    lm-eval passes the task's `dataset_kwargs`, and with them its metadata and the model's
    arguments, which have no meaning here.
    """
    lines = Path(__file__).with_name(questions).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return datasets.DatasetDict(test=datasets.Dataset.from_list(rows))
