"""A custom benchmark that goes wrong as its name says, while BROKEN=yes; standard library only.

    custom.py MODE RESULTS_FOLDER ENDPOINT_URL MODEL JUDGE_URL

It asks the model ten sums, keeps each answer in its work folder so that it is never asked twice,
and lets a judge at another endpoint say right or wrong.
"""

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

QUESTIONS = [f"What is {n} + {n}?" for n in range(10)]


def ask(url: str, model: str, system: str, text: str) -> str:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    body = json.dumps({"model": model, "messages": messages}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def answers_of_model(mode: str, folder: Path, url: str, model: str) -> dict[str, str]:
    kept = folder / "answers.json"
    answers: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    for question in QUESTIONS:
        if question not in answers:
            answers[question] = ask(url, model, mode, question)
            kept.write_text(json.dumps(answers))
    return answers


def score(mode: str, folder: Path, url: str, model: str, judge_url: str) -> dict[str, Any]:
    """A result in the declared format: a sample that the judge says nothing of has no score."""
    verdicts = []
    for question, answer in answers_of_model(mode, folder, url, model).items():
        said = ask(judge_url, model, mode, f"{question} {answer}")
        verdicts += [said == "right"] if said in ("right", "wrong") else []
    value = sum(verdicts) / len(verdicts) if verdicts else 0.0
    return {
        "scores": {"accuracy": {"value": value, "n": len(verdicts)}},
        "samples": {"expected": len(QUESTIONS), "scored": len(verdicts), "unanswered": 0},
    }


def spoil(mode: str, folder: Path, result: dict[str, Any]) -> str:
    """The result file as a benchmark leaves it in which this has gone wrong."""
    text = json.dumps(result)
    match mode:
        case "truncated":
            return text[: len(text) // 2]
        case "no_scores":
            return json.dumps({**result, "scores": {}})
        case "not_a_number":
            result["scores"]["accuracy"]["value"] = float("nan")
        case "fewer":
            result["samples"]["scored"] = result["scores"]["accuracy"]["n"] = 7
        case "some_unanswered":
            result["samples"]["unanswered"] = 1
        case "told_to_stop":
            # As NeMo does: a marker, results of what there is, and exit code 0.
            (folder / ".nemo_evaluator_interrupted").write_text("interrupted by SIGTERM\n")
    return json.dumps(result)


def main(mode: str, results: str, url: str, model: str, judge_url: str) -> None:
    folder = Path(results)
    broken = os.environ["BROKEN"] == "yes"
    result = score(mode, folder, url, model, judge_url)
    text = spoil(mode, folder, result) if broken else json.dumps(result)
    if mode == "told_to_stop":
        write_nemo(folder, model, result)
    else:
        (folder / "results.json").write_text(text)


def write_nemo(folder: Path, model: str, result: dict[str, Any]) -> None:
    """`results.yml` (JSON is YAML), with what nemo-evaluator writes of a run without an adapter."""
    value = result["scores"]["accuracy"]["value"]
    score = {"accuracy": {"value": value, "stats": {"count": len(QUESTIONS)}}}
    content = {
        "config": {},
        "target": {"api_endpoint": {"model_id": model}},
        "results": {"tasks": {"told_to_stop": {"metrics": {"accuracy": {"scores": score}}}}},
    }
    (folder / "results.yml").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
