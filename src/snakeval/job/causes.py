"""Why a harness failed, in a sentence that lets a person act; and whether another try can help.

What ends a harness stands at the end of its log. There known causes are looked for by name; what is
not known is told by the harness's own last words, without what looks like a secret.

A copy lies in every run folder's `lib/`, beside `verify.py`; standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import record
from .files import read_json
from .harness_log import GATED, Log, around, reason
from .redact import without_secrets
from .text import one_line

LONGEST = 300
"""Characters of a harness's own words."""

EXIT_CODES = {
    124: "a time limit was reached (exit code 124, as `timeout` ends): raise it where the command "
    "sets it, or ask for less (limit_samples)",
    130: "it was interrupted (SIGINT)",
    132: "its programs are built for another processor than this one (SIGILL)",
    137: "it was killed (SIGKILL: out of memory, or from outside)",  # where nobody can say more
    139: "it crashed in compiled code (SIGSEGV): packages that do not fit each other, or a driver; "
    "the log's last lines may say where",
    143: "it was told to stop (SIGTERM)",
}

AT_ITS_LIMIT, OF_THE_MACHINE, BY_SOMEBODY, NOT_SAID = "limit", "machine", "somebody", ""
"""Evidence of who has killed a harness (`keeper/killed.py`)."""

MORE = "give it more, or lower `parallelism`"
KILLED = {
    AT_ITS_LIMIT: f"it ran out of memory: the kernel has killed it at its limit; {MORE}",
    OF_THE_MACHINE: "it was killed (SIGKILL) while this machine was out of memory, and the kernel "
    f"ended processes: {MORE}",
    BY_SOMEBODY: "somebody has killed it (SIGKILL): there was no lack of memory",
}
SIGKILLED = 137
CHILD_KILLED = re.compile(
    r"SIGKILL|\bKilled\b|signal 9\b|(?:code|status|returned)\W{1,3}(?:-9|137)\b"
)
"""In the last lines of a harness whose own process was killed."""

NOT_STARTED = 125
"""Of `docker run` and `podman run` themselves."""


@dataclass(frozen=True)
class Cause:
    """Why an attempt failed. `lasting`: it cannot get better by itself, so that nobody tries again
    before something was changed."""

    sentence: str
    lasting: bool = False


@dataclass(frozen=True)
class Known:
    """A cause by its name.

    pattern   what a telling line has
    sentence  its groups by their names; `what` is given as `where there is none`
    within    what the lines around it must have, where the line alone does not tell
    """

    pattern: re.Pattern[str]
    sentence: str
    lasting: bool = True
    within: re.Pattern[str] | None = None


PACKAGES = {
    "yaml": "pyyaml", "sklearn": "scikit-learn", "cv2": "opencv-python", "PIL": "pillow",
    "bs4": "beautifulsoup4", "Crypto": "pycryptodome", "dateutil": "python-dateutil",
}  # fmt: skip
"""Packages that have another name than the module that they bring."""

_DATA_HOSTS = (
    r"(?:[\w-]+\.)*(?:huggingface\.co|hf\.co|github\.com|githubusercontent\.com|googleapis\.com"
    r"|amazonaws\.com|blob\.core\.windows\.net|nltk\.org|pypi\.org|pythonhosted\.org|zenodo\.org"
    r"|modelscope\.cn|hf-mirror\.com)"
)
_OF_MODELS = r"\S*(?:completions|embeddings|/models)"
_OF_DATA = re.compile(r"doc_to_|process_doc|fewshot|jinja2|/datasets/|load_dataset|\bdoc\[")
_OF_SPLITS = re.compile(r"\bdataset\[\S*split\]|dataset_dict\.py")
HUB = "the Hugging Face hub cannot be reached from where the harness runs"
_OF_HUB = re.compile(r"^(?:'(.+)'|(HTTP Error \d+)) thrown while requesting ")
"""What huggingface_hub says of each request that it tries again, before it gives up."""
_BRING = "open the way to it (HTTPS_PROXY), or bring the data first: `snakemake prefetch`"


def _known(pattern: str, sentence: str, lasting: bool = True, within: Any = None) -> Known:
    return Known(re.compile(pattern), sentence, lasting, within)


KNOWN = (
    # --- the network, and what is fetched through it
    _known(
        r"Couldn't reach '?(?P<what>[\w./-]+)'? on the Hub|OfflineModeIsEnabled"
        r"|Couldn't find '(?P<what2>[\w.-]+/[\w.-]+)' on the Hugging Face Hub either: LocalEntryNot"
        r"|LocalEntryNotFoundError|couldn't connect to 'https://huggingface\.co'"
        r"|outgoing traffic has been disabled",
        HUB + ", to fetch {what}: " + _BRING,
        lasting=False,
    ),
    _known(
        r"(?:Dataset|Repository|Model) '?(?P<what>[\w.-]+/[\w.-]+)'? (?:doesn't exist|not found)"
        r"|Repository Not Found for url: https?://[^/\s]+/(?:api/)?(?:datasets/|models/)?"
        r"(?P<what2>[\w.-]+/[\w.-]+)",
        "{what} is not on the Hugging Face hub, or only for those who may see it: correct the "
        "name, or pass a token (env_vars: HF_TOKEN: host:HF_TOKEN)",
    ),
    _known(
        rf"(?:host='|connect to host |https?://)(?P<what>{_DATA_HOSTS}).*(?:Max retries|Errno"
        r"|refused|resolve|resolution|unreachable|timed out|Name or service)"
        rf"|(?:resolve|resolution|urlopen|Connect).*?(?P<what2>{_DATA_HOSTS})",
        "{what} cannot be reached from where the harness runs: " + _BRING,
        lasting=False,
    ),
    _known(
        r"(?P<more>429|50\d) (?:Client|Server) Error: [\w ]+ for url: https?://"
        rf"(?P<what>[^/\s@]+)/(?!{_OF_MODELS})",
        "{what} answers {more}: it is busy, or wants fewer requests; try again later, or bring the "
        "data first: `snakemake prefetch`",
        lasting=False,
    ),
    _known(
        r"(?P<more>401|403) Client Error: \w+ for url: https?://"
        rf"(?P<what>[^/\s@]+)/(?!{_OF_MODELS})",
        "{what} answers {more}: the key for it is missing, wrong, or has no right to this (pass it "
        "in env_vars)",
    ),
    _known(
        r"host='(?P<what>(?!127\.|localhost|host\.)[\w.-]+)', port=\d+\).*(?:Max retries|refused"
        r"|resolve|unreachable|timed out)",
        "{what} cannot be reached from where the harness runs: is its name right, and the way to "
        "it open (HTTPS_PROXY)?",
        lasting=False,
    ),
    _known(
        r"host='(?P<what>[\w.-]+)', port=(?P<more>\d+)\).*refused"
        r"|Cannot connect to host (?P<what2>[\w.-]+):(?P<more2>\d+) .*Connect call failed",
        "the endpoint could not be reached: nothing listens at {what}:{more} (connection refused); "
        "is that server up (the model's, a judge's), and its address right?",
        lasting=False,
    ),
    # --- what was asked for is not there
    _known(r"^error: (?P<what>data missing: .+)$", "{what}", lasting=False),
    _known(
        r"[Tt]asks?(?: were)? not found:? (?P<what>[^\[\s][^;]*)"
        r"|[Tt]asks? [`'\"](?P<what2>[^`'\"]+)[`'\"] (?:were |was |is )?(?:not found|unknown)"
        r"|(?:[Uu]nknown|[Ii]nvalid|[Uu]nrecognized) (?:task|benchmark)(?: name)?s?:? "
        r"['\"]?(?P<what3>[\w.,:-]+)|No such task:? ['\"]?(?P<what4>[\w.:-]+)",
        "the harness has no task {what}: correct the name (`snakemake ls_tasks`)",
    ),
    _known(
        r"BuilderConfig '?(?P<what>[^'\s]+)'? not found.*?(?P<more>Available: .*)?$",
        "the data has no configuration {what}: {more}",
    ),
    _known(
        r"Unknown split \"?(?P<what>[^\"\s]+)\"?\.? Should be one of (?P<more>.*)$",
        "the data has no split {what}, only {more}",
    ),
    _known(
        r"(?:Column|column)(?: name)? \[?'?(?P<what>[\w. -]+)'?\]? (?:is )?"
        r"(?:not in|doesn't exist|does not exist|not found)",
        "the data has no column {what}: correct the task's definition, or the data",
    ),
    _known(
        r"UndefinedError: '?(?:dict object' has no attribute '|list object' has no element )?"
        r"(?P<what>[\w.]+)'?(?: is undefined)?",
        "the data has no column {what}: correct the task's definition, or the data",
    ),
    _known(
        r"KeyError: '(?P<what>[^']+)'",
        "the data has no split {what}: correct the task's definition, or the data",
        within=_OF_SPLITS,
    ),
    _known(
        r"TypeError: 'NoneType' object is not callable",
        "the task's definition asks for a metric that lm-eval does not have (the beginning of the "
        "log names it): correct its name in metric_list",
        within=re.compile(r"_metric_fn_list\["),
    ),
    _known(
        r"KeyError: None$",
        "the task's definition asks for a metric that lm-eval does not have (the lines before the "
        "log's end name it): correct its name in metric_list, or give it an aggregation",
        within=re.compile("INV_AGG_REGISTRY"),
    ),
    _known(
        r"KeyError: '(?P<what>[^']+)'",
        "the data has no column {what}: correct the task's definition, or the data",
        within=_OF_DATA,
    ),
    _known(
        r"Dataset scripts are no longer supported, but found (?P<what>\S+)",
        "the data is made by a script ({what}), which its library no longer runs: take an older "
        "version of the package `datasets`, or another copy of the data",
    ),
    _known(
        r"trust_remote_code",
        "the data or tokenizer brings code of its own, which runs only where that is asked for "
        "(trust_remote_code)",
        within=re.compile(r"(?i)requires you to execute|contains custom code|please pass the arg"),
    ),
    _known(
        r"Resource '?(?P<what>\w+)'? not found",
        "the nltk data {what} is not where the harness runs: fetch it there "
        "(`python -m nltk.downloader {what}`), or take an image that has it",
        within=re.compile("nltk"),
    ),
    _known(
        r"Can't find model '(?P<what>[\w-]+)'",
        "the spaCy model {what} is not where the harness runs: `python -m spacy download {what}` "
        "there, or take an image that has it",
    ),
    _known(
        r"FileNotFoundError: (?:\[Errno 2\] )?(?:No such file or directory: |Couldn't find (?:any "
        r"data file at |file at )?|Unable to find )'?(?P<what>[^'\s]+)",
        "the file {what} is not there where the harness runs: is it mounted, and the path one of "
        "the container's?",
    ),
    _known(
        r"PermissionError: \[Errno 13\] Permission denied: '(?P<what>[^']+)'"
        r"|(?:[Cc]annot|[Cc]an't|could not) \w+ (?:directory |file )?[\u2018'\"]?"
        r"(?P<what2>/[^\u2019'\":]*)"
        r"[\u2019'\"]?: Permission denied|: (?P<what3>/[^:\s]+): Permission denied",
        "{what} may not be used by the user that the harness runs as (permission denied): give "
        "that user the right, or name a folder that it has (docs/troubleshooting.md)",
    ),
    _known(
        r"(?P<what>/[^\s:'\u2019]+)['\u2019]?: Read-only file system"
        r"|Read-only file system: '(?P<what2>[^']+)",
        "{what} is on a file system that may only be read: let the harness write below /results",
    ),
    # --- programs
    _known(
        r"No module named '(?:distutils|imp|tomllib)\b|requires a different Python:"
        r"|[Rr]equires [Pp]ython ?'?[<>=!~]*=? ?\d|Python \d\.\d+[\d.]* (?:is not|or (?:newer|later"
        r"|higher|above))|unsupported operand type\(s\) for \|: '(?:type|\w*GenericAlias)'"
        r"|cannot import name '\w+' from 'collections'",
        "the harness does not run with the Python that starts it ({line}): give it the version "
        "that it wants, in an environment or image of its own",
    ),
    _known(
        r"No module named '?(?P<what>[\w.]+)'?|requires the '?(?P<what2>[\w-]+)'? (?:package"
        r"|library)"
        r"|pip install ['\"`]?(?P<what3>[A-Za-z][\w.-]*(?:\[[\w,.-]+\])?)",
        "the Python package {package} is missing where the harness runs: `pip install {package}` "
        "there, or take an image that has it",
    ),
    _known(
        r"ImportError: cannot import name '(?P<what>\w+)' from '(?P<more>[\w.]+)'",
        "the Python package {more} is there in another version than the harness wants (it has no "
        "{what})",
    ),
    _known(
        r"(?:(?:ba)?sh|/bin/sh|/bin/bash|line \d+)[^:]*: (?:\d+: |line \d+: )?(?P<what>[\w./-]+): "
        r"(?:command )?not found|exec: \"(?P<what2>[^\"]+)\": (?:executable file not found|stat)",
        "there is no command {what} where the harness runs: install it, or correct the command",
    ),
    _known(
        r"[Ee]xec format error",
        "a program, or the image, is for another kind of processor ({line})",
    ),
    # --- memory and time
    _known(
        r"(?i)CUDA out of memory|OutOfMemoryError|MemoryError|cannot allocate memory|std::bad_alloc"
        r"|oom[-_ ]?kill|OOMKilled",
        f"it ran out of memory: {MORE}",
        lasting=False,
    ),
    _known(
        r"Resource temporarily unavailable|can't start new thread|pthread_create failed",
        "it may start no more processes or threads (ulimit -u, or the container's pids limit): "
        "raise the limit, or lower `parallelism`",
        lasting=False,
    ),
    _known(
        r"Too many open files",
        "it may open no more files (ulimit -n): raise the limit, or lower `parallelism`",
        lasting=False,
    ),
    _known(r"(?i)due to time limit", "the job's time limit was reached", lasting=False),
    # --- the model, the judge
    _known(
        r"(?i)\bjudge.*(?:connect|refused|timed? ?out|unreachable|\b(?:401|403|404|429|50\d)\b)",
        "the judge could not be asked ({line}): is its server up, and its key right?",
        lasting=False,
    ),
    _known(
        r"(?i)loglikelihood.*(?:not supported|not implemented)",
        "this benchmark compares log-probabilities, which a chat endpoint does not give: "
        "`endpoint_type: completions` at an endpoint that gives them, or another benchmark",
    ),
    _known(
        r"(?i)maximum context length|context_length_exceeded|exceeds the model's (?:max|context)"
        r"|prompt is too long",
        "a prompt is longer than the model can read ({line}): fewer examples (num_fewshot), "
        "shorter answers (max_new_tokens), or a server with a longer context",
    ),
)
"""Looked for in this order in each telling line, the last line first."""

AT_THE_END, WENT_ON = 8, 25
"""Lines that may follow what ends a harness. After more, it may have been what a program said that
the harness has tried, and another try is worth it; after many, the harness went on."""

SOMETHING = "something that it needs"

TRACEBACK = "Traceback (most recent call last)"
CONTINUES = re.compile(r"^(?:During handling of|The above exception was)")
EXCEPTION = re.compile(r"^(?:\[?\w+\]?:? ?)?(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Exit|"
                       r"NotFound|Interrupt|Refused)\b:?")  # fmt: skip
COMPLAINS = re.compile(
    r"(?i)\b(?:error|fatal|failed|exception|cannot|could not|not found|denied|unavailable"
    r"|read-only)\b"
)
WRAPPED = re.compile(
    r"Evaluation failed|CalledProcessError|returned non-zero|exit(?:ed with)? (?:code|status)"
    r"|consult the logs|subprocess|Obtaining \w+ results failed"
)
"""Of a program that has started another one: that one's words stand before."""


def of_harness(exit_code: int, log: Log, model_id: str | None, killed_by: str = NOT_SAID) -> Cause:
    """The cause of an attempt whose harness ended with an exit code other than 0.

    killed_by  evidence, where there is some
    """
    lines = list(log.tail)
    if exit_code == SIGKILLED and killed_by in KILLED:
        return Cause(KILLED[killed_by])
    if exit_code in EXIT_CODES:
        return Cause(EXIT_CODES[exit_code])
    if killed_by == AT_ITS_LIMIT and any(map(CHILD_KILLED.search, lines[-30:])):
        return Cause(KILLED[killed_by])
    if found := by_name(lines):
        return _as_the_hub_was_asked(found, lines)
    if told := reason(log, model_id):
        at_the_end = any(around(line) == told for line in lines[-30:])
        return Cause(told, lasting=at_the_end)  # what is wrong around it stays so
    said = last_words(lines)
    if exit_code == NOT_STARTED:
        return Cause(f"the container could not be started{f': {said}' if said else ''}")
    return Cause(said or "it wrote nothing into its log")


def by_name(lines: Sequence[str]) -> Cause | None:
    """The known cause that the end of a log tells; None: none of them."""
    for block in endings(lines):
        whole = "\n".join(block)
        after = 0
        for line in reversed(block):
            if after > WENT_ON:
                break
            if _tells(line) and (found := _of_line(line, whole)):
                return found if after <= AT_THE_END else replace(found, lasting=False)
            after += bool(line.strip())
        if not WRAPPED.search(whole):
            return None
    return None


def _as_the_hub_was_asked(cause: Cause, lines: Sequence[str]) -> Cause:
    """With why the hub has not answered, which stands long before the end."""
    if not cause.sentence.startswith(HUB):
        return cause
    asked = [(line, found) for line in lines if (found := _OF_HUB.match(line))]
    if not asked:
        return cause
    line, found = asked[-1]
    if told := around(line):
        return Cause(f"the Hugging Face hub: {told}", lasting=True)
    why = f" ({_shown(found[1] or found[2])})"
    return replace(cause, sentence=cause.sentence.replace(HUB, HUB + why, 1))


def _tells(line: str) -> bool:
    """Whether a line says what went wrong; lines of code in a traceback are indented."""
    return not line.startswith("  ") and bool(EXCEPTION.match(line) or COMPLAINS.search(line))


def _of_line(line: str, block: str) -> Cause | None:
    if GATED.search(line) and (told := around(line)):
        return Cause(told, lasting=True)
    for known in KNOWN:
        found = known.pattern.search(line)
        if found and (known.within is None or known.within.search(block)):
            return Cause(_filled(known.sentence, found, line), known.lasting)
    return None


def _filled(sentence: str, found: re.Match[str], line: str) -> str:
    """The sentence with what was found; what may hold a secret, or nothing, is passed over."""
    groups = {name: value for name, value in found.groupdict().items() if value}
    what = next((value for name, value in sorted(groups.items()) if name.startswith("what")), "")
    what = _shown(what.strip(" .")) or SOMETHING
    module = what.split(".")[0] if "[" not in what else what
    return sentence.format(
        what=what,
        more=_shown(groups.get("more") or groups.get("more2") or "see its log"),
        package=PACKAGES.get(module, module),
        line=_shown(line),
    )


def endings(lines: Sequence[str]) -> Iterator[list[str]]:
    """A log's last lines in the blocks that an exception each has written, the last block first.

    Exceptions that were raised while another one was handled are one block.
    """
    starts = [
        number
        for number, line in enumerate(lines)
        if TRACEBACK in line and not any(map(CONTINUES.match, lines[max(0, number - 3) : number]))
    ]
    if not starts:
        yield list(lines[-30:])
        return
    end = len(lines)
    for start in reversed(starts):
        yield list(lines[start:end])
        end = start


def last_words(lines: Sequence[str]) -> str:
    """The line of a log that says most about its end: the last exception, else the last complaint,
    else the last line; empty where there is none."""
    said = [line.strip() for line in lines if line.strip()]
    for block in endings(lines):
        exceptions = [line for line in block if EXCEPTION.match(line)]
        if exceptions and not WRAPPED.search(exceptions[-1]):
            return _shown(exceptions[-1])
    complaints = [line for line in said[-30:] if COMPLAINS.search(line)]
    return _shown((complaints or said or [""])[-1])


def _shown(text: str) -> str:
    """A harness's own words on one line, without what looks like a secret."""
    line = one_line(without_secrets(text))
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


# --- whether to try again -------------------------------------------------------------------------


def is_lasting(record_dir: Path, cause: str) -> bool:
    """Whether the check has said that this cause cannot get better by itself."""
    checked = read_json(record_dir / record.CHECK)
    said = checked.get("cause")
    return bool(checked.get("lasting") and said) and cause.startswith(str(said))


def why_not_again(last: Mapping[str, Any], start: str, digest: str) -> str:
    """Why a start does not try a task again; empty: it does. By hand (`start` is empty) and in the
    next start everything is tried."""
    same = start and last.get("start") == start and last.get("digest") == digest
    if not (same and last.get("lasting")):
        return ""
    return "not tried again, as it cannot get better by itself"
