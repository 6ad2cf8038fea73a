"""The user's own part of lm-eval's command line, read as lm-eval 0.4.13 reads it.

Words under which a score would mean nothing, or something else than it says, are refused before
anything is asked: short, abbreviated (`--pred`), joined (`-L5`, `-sx`) or not.
"""

from __future__ import annotations

import argparse
from typing import NoReturn

from snakeval.errors import InputError, Problem
from snakeval.harness.recipe import argument_words
from snakeval.plan.run import Task

SEVERAL, PERHAPS = "+", "?"
WITH_VALUE: dict[str, str | None] = {
    "--config -C": None,
    "--tasks -t": SEVERAL,
    "--model -M": None,
    "--model_args -a": SEVERAL,
    "--apply_chat_template": PERHAPS,
    "--limit -L": None,
    "--use_cache -c": None,
    "--num_fewshot -f": None,
    "--batch_size -b": None,
    "--max_batch_size": None,
    "--device": None,
    "--gen_kwargs": SEVERAL,
    "--output_path -o": None,
    "--samples -E": None,
    "--cache_requests": PERHAPS,
    "--system_instruction": None,
    "--fewshot_as_multiturn": PERHAPS,
    "--include_path": None,
    "--verbosity -v": None,
    "--wandb_args": SEVERAL,
    "--wandb_config_args": SEVERAL,
    "--trackio_args": SEVERAL,
    "--hf_hub_log_args": SEVERAL,
    "--seed": None,
    "--metadata": SEVERAL,
}
WITHOUT_VALUE = (
    *("--help -h", "--log_samples -s", "--check_integrity", "--write_out -w", "--show_config"),
    *("--predict_only -x", "--trust_remote_code", "--confirm_run_unsafe_code"),
)

REFUSED = {
    "predict_only": ("asks the model and scores nothing", "leave it out"),
    "samples": (
        "chooses samples, of which the check knows no number",
        "leave it out; limit_samples takes the first ones",
    ),
    "limit": ("limits the samples, and the check does not know it", "write limit_samples"),
    "tasks": ("evaluates another benchmark than its name says", "name that one as a task"),
    "config": ("reads options from a file, which nobody has looked at", "write them out"),
    "model": ("asks the model in another way", "leave it out; endpoint_type decides it"),
    "output_path": ("puts the result where it is not found", "leave it out"),
    "use_cache": ("takes answers from a cache that may be another model's", "leave it out"),
    "help": ("evaluates nothing", "leave it out"),
}
"""By lm-eval's name: what is wrong with it, and what to do."""


class _Unreadable(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Unreadable(message)


def check(task: Task) -> None:
    """Raises InputError for arguments that make a score meaningless, or that are no arguments."""
    where = f"{task.where}: params.extra.args"
    words = argument_words(task)
    try:
        given = vars(_parser().parse_known_args(words)[0])
    except _Unreadable as error:
        raise InputError(
            [Problem(where, f"lm-eval refuses it: {error}", "see lm_eval -h")]
        ) from None
    found = [name for name in REFUSED if name in given]
    if found:
        raise InputError(
            Problem(where, f"--{name} {REFUSED[name][0]}", REFUSED[name][1]) for name in found
        )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    for names, nargs in WITH_VALUE.items():
        parser.add_argument(*names.split(), nargs=nargs)
    for names in WITHOUT_VALUE:
        parser.add_argument(*names.split(), action="store_true")
    return parser
