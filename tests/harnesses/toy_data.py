"""A few questions in the form of data that are on a hub, with the columns that the harnesses read.

Each is a shell command that puts them where `load_dataset(name)` looks first: into a folder of that
name in the working directory.
"""

import json
from typing import Any


def hle() -> str:
    """Six questions of text and one with a picture, which is left out."""
    rows = [
        {
            "id": f"q{number}",
            "question": f"How many are {number} and {number}?",
            "answer": str(2 * number),
            "answer_type": "exactMatch",
            "image": "" if number < 6 else "data:image/png;base64,none",
        }
        for number in range(7)
    ]
    return dataset("cais/hle", rows)


def math_500() -> str:
    """Six problems; the endpoint always answers 204."""
    problems = {f"{number} + {number}": str(2 * number) for number in range(99, 105)}
    rows = [{"problem": f"What is {text}?", "answer": found} for text, found in problems.items()]
    return dataset("HuggingFaceH4/MATH-500", rows)


def profbench() -> str:
    """A task of each domain (its F1 scores are of all of them), with two criteria and the reports
    of three models."""
    kinds = {"Phys-0": "Physics PhD", "Chem-0": "Chemistry PhD"}
    kinds |= {"Fin-0": "Finance MBA", "Cons-0": "Consulting MBA"}
    rows = [
        {
            "task_id": task,
            "domain": domain,
            "prompt": f"Write a report on {domain}.",
            "filepaths": [],
            "rubrics": [criterion(task, number) for number in range(2)],
            **{f"{model}_response": f"{task}, as {model} has it" for model in MODELS},
        }
        for task, domain in kinds.items()
    ]
    return dataset("nvidia/ProfBench", rows)


MODELS = ("o3", "grok4", "r1-0528")
"""Whose reports ProfBench has, with people's verdicts."""


def criterion(task: str, number: int) -> dict[str, Any]:
    return {
        "criterion_description": f"It names point {number} of {task}",
        "criterion_type": ["Reasoning", "Style"] if number else ["Extraction (recall)"],
        "criterion_weight": "Critical" if number else "Minor",
        **{f"{model}_fulfilment": (number + place) % 2 == 0 for place, model in enumerate(MODELS)},
    }


def execution() -> str:
    """Four programs of LiveCodeBench that return what they are given; two are of one question."""
    rows = [
        {
            "question_id": str(number // 2),
            "contest_id": "weekly-1",
            "contest_date": "2023-05-07 00:00:00",
            "difficulty": "easy",
            "function_name": "f",
            "code": "def f(x):\n    return x",
            "input": f"f({number + 10})",
            "output": str(number + 10),
            "id": f"sample_{number}",
            "problem_id": str(number // 2),
            "numsteps": 1,
        }
        for number in range(4)
    ]
    return dataset("livecodebench/execution-v2", rows)


LOADED_BY = """from dataclasses import dataclass
import json
import datasets

@dataclass
class Version(datasets.BuilderConfig):
    version_tag: str = "release_v1"

class Problems(datasets.GeneratorBasedBuilder):
    BUILDER_CONFIG_CLASS = Version

    def _info(self):
        rows = [json.loads(line) for line in open("ROWS")]
        return datasets.DatasetInfo(features=datasets.Features(
            {name: datasets.Value("string") for name in rows[0]}))

    def _split_generators(self, manager):
        return [datasets.SplitGenerator(datasets.Split.TEST)]

    def _generate_examples(self):
        yield from enumerate(json.loads(line) for line in open("ROWS"))
"""
"""As LiveCodeBench's problems are loaded: by a script that knows versions (datasets before 4)."""


def generation() -> str:
    """Four problems of LiveCodeBench with a public and a hidden test each."""
    rows = [
        {
            "question_title": f"add {number}",
            "question_content": f"Write add_{number}, which adds {number}.",
            "platform": "leetcode",
            "question_id": str(number),
            "contest_id": "weekly-1",
            "contest_date": "2023-05-07T00:00:00",
            "starter_code": f"def add_{number}(x):",
            "difficulty": "easy",
            "public_test_cases": tests(1, number),
            "private_test_cases": tests(2, number),
            "metadata": json.dumps({"func_name": f"add_{number}"}),
        }
        for number in range(4)
    ]
    name = "livecodebench/code_generation_lite"
    script = LOADED_BY.replace("ROWS", f"{name}/test.jsonl")
    return f"{dataset(name, rows)}\ncat > {name}/code_generation_lite.py <<'EOF'\n{script}EOF"


def tests(given: int, more: int) -> str:
    """What a program that adds `more` must return."""
    test = {"input": str(given), "output": str(given + more), "testtype": "functional"}
    return json.dumps([test])


def dataset(name: str, rows: list[dict[str, Any]]) -> str:
    """Its split `test`."""
    lines = "\n".join(json.dumps(row) for row in rows)
    return f"mkdir -p {name} && cat > {name}/test.jsonl <<'EOF'\n{lines}\nEOF"
