"""A benchmark in one file: asks every question, keeps every answer, writes the scores.

Standard library only, so that it runs in almost any image. Answers are appended to a file in the
work folder as they come; an interrupted evaluation finds them there and asks only the others.
"""

import argparse
import json
import math
import os
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--url", required=True, help="the whole chat completions URL")
    parser.add_argument("--model", required=True)
    parser.add_argument("--key-name", default="", help="variable that holds the API key")
    parser.add_argument("--limit", default="", help="only the first N questions; empty: all")
    parser.add_argument("--threads", default="")
    parser.add_argument("--answers", type=Path, required=True, help="grows while it runs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=Path, help="one record per question, for the table")
    options = parser.parse_args()

    lines = options.questions.read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line) for line in lines][: int(options.limit or 0) or None]
    known = read_answers(options.answers)

    missing = [item["question"] for item in asked if item["question"] not in known]
    print(f"{len(asked)} questions, {len(missing)} still to be asked", flush=True)
    key = os.environ.get(options.key_name, "")
    lock = threading.Lock()

    def fetch(question: str) -> None:
        answer = ask(options.url, options.model, key, question)
        with lock, options.answers.open("a", encoding="utf-8") as kept:
            kept.write(json.dumps({"question": question, "answer": answer}) + "\n")
            known[question] = answer

    with ThreadPoolExecutor(int(options.threads or 1)) as pool:
        # list(): an error of any request ends the program here, after the others were kept.
        list(pool.map(fetch, missing))
    if options.samples:
        write_samples(options.samples, asked, known)
    write_scores(options.out, asked, known)


def read_answers(path: Path) -> dict[str, str]:
    """Answers of an earlier attempt; a last line that was cut short does not count."""
    known: dict[str, str] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            known[entry["question"]] = entry["answer"]
    return known


def ask(url: str, model: str, key: str, question: str) -> str:
    """One request. An error ends the program: what is not answered must not be scored."""
    body = {"model": model, "temperature": 0, "messages": [{"role": "user", "content": question}]}
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])


def is_right(item: dict[str, str], known: dict[str, str]) -> bool:
    return item["answer"].lower() in known[item["question"]].lower()


def write_samples(path: Path, asked: list[dict[str, str]], known: dict[str, str]) -> None:
    """A line per question: what was asked, expected and answered, and whether it is right."""
    with path.open("w", encoding="utf-8") as lines:
        for number, item in enumerate(asked):
            record = {
                "id": number,
                "prompt": item["question"],
                "expected": item["answer"],
                "answer": known[item["question"]],
                "scores": {"accuracy": is_right(item, known)},
            }
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_scores(path: Path, asked: list[dict[str, str]], known: dict[str, str]) -> None:
    """The format `scores`: a value per score, and how many samples were asked and scored."""
    right = sum(is_right(item, known) for item in asked)
    share = right / len(asked)
    stderr = math.sqrt(share * (1 - share) / len(asked))
    content = {
        "scores": {"accuracy": {"value": share, "stderr": stderr, "n": len(asked)}},
        "samples": {"expected": len(asked), "scored": len(asked), "unanswered": 0},
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
