"""What all sections of the config model share: closed mappings, variables, walltimes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from snakeval.config.source import AnySource, names_a_variable

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}\Z")
"""Names that become names of folders."""

WALLTIME = re.compile(r"([0-9]+-)?[0-9]{1,3}(:[0-9]{2}){0,2}\Z")


class Section(BaseModel):
    """A closed mapping: an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )


@dataclass(frozen=True)
class Ignored:
    """Marks a key of the launcher that is read and does nothing here.

    why  half a sentence for the warning and the docs
    key  the one key that is meant, of a mapping that is free otherwise
    """

    why: str
    key: str = ""

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        described: dict[str, Any] = handler(core)
        return described if self.key else {**described, "description": self.meaning}

    @property
    def meaning(self) -> str:
        """What the docs say of the key."""
        return f"Ignored: {self.why}."


@dataclass(frozen=True)
class Instead:
    """Marks a key at which people write secrets: how they are named there. {key} is filled in."""

    words: str


@dataclass(frozen=True)
class Named:
    """Marks a key that asks for the name of a variable, and refuses by itself what is none."""


@dataclass(frozen=True)
class SeveralLines:
    """Marks what may hold text of several lines: a command, a prompt, free parameters."""


def fixable(what: str, fix: str) -> PydanticCustomError:
    """What a validator raises: what is wrong, and what to write instead."""
    return PydanticCustomError("fixable", "{what}", {"what": what, "fix": fix})


def prefix_of(name: str, given: str | None) -> str:
    """The beginning of an auxiliary deployment's variables: JUDGE of `judge`, or as given."""
    return given or re.sub(r"\W", "_", name).upper()


def empty_if_null(value: Any) -> Any:
    """A section that is written without content is an empty one."""
    return {} if value is None else value


def section_of_type(value: Any) -> Any:
    """`deployment: none` is short for `deployment: {type: none}`; null is the default."""
    return {"type": value} if isinstance(value, str) else empty_if_null(value)


def check_names(value: Any) -> Any:
    """Refuses a mapping with a key that is not the name of a variable."""
    for name in value if isinstance(value, dict) else ():
        if not isinstance(name, str) or not names_a_variable(name):
            # The text is not repeated: it may be a secret that was pasted.
            raise fixable(
                "holds a key that is not the name of an environment variable",
                "letters, digits and '_', as in HF_TOKEN: host:HF_TOKEN",
            )
    return value


def seconds_of(walltime: str) -> int:
    """Slurm's notations: `90` (minutes), `30:00`, `01:30:00`, `2-12`, `2-12:00:00`."""
    days, dash, clock = walltime.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if dash:
        hours, minutes, rest = [*parts, 0, 0][:3]
    elif len(parts) == 3:
        hours, minutes, rest = parts
    else:
        hours, (minutes, rest) = 0, [*parts, 0][:2]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest


def _check_walltime(value: str) -> str:
    if not WALLTIME.match(value):
        raise fixable("is not a time", "write it as 01:30:00 or 2-12:00:00")
    return value


def _colons_again(value: Any) -> Any:
    """YAML 1.1 reads 10:30:00 as a number of seconds in base 60; this writes it back.

    Below an hour nobody knows: 240 is 4:00 to YAML, and 240 minutes to Slurm.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 3600:
            raise fixable(
                f"{value} could be minutes or seconds", "write hours, minutes, seconds: '01:30:00'"
            )
        minutes, seconds = divmod(value, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours:02}:{minutes:02}:{seconds:02}"
    return value


EnvVars = Annotated[
    dict[str, AnySource],
    SeveralLines(),
    Instead("write {key}: host:NAME, where NAME is a variable of this machine"),
    BeforeValidator(check_names),
    BeforeValidator(empty_if_null),
]
"""Name of a variable: `host:NAME`, `runtime:NAME`, a bare `NAME` (host), or `lit:text`."""

LONGEST_NAME = 255
"""Bytes of a name in a file system."""


def check_host_path(value: str) -> str:
    """Refuses a path that no file system takes, or a program would take for an option."""
    if value.startswith("-"):
        raise fixable("begins with '-', as an option does", "write the whole path: /...")
    if any(len(part.encode()) > LONGEST_NAME for part in value.split("/")):
        raise fixable(
            f"has a part of more than {LONGEST_NAME} bytes", "no file system has such names"
        )
    try:
        Path(value).expanduser()
    except RuntimeError:
        raise fixable("is in the home folder of an unknown user", "write the whole path") from None
    return value


def _check_output(value: str) -> str:
    if not value:
        raise fixable("is empty", "write a folder, such as results")
    return check_host_path(value)


def _check_inside(value: str) -> str:
    path = Path(check_host_path(value))
    if path.is_absolute() or ".." in path.parts or not path.name or value.startswith("~"):
        raise fixable("leads out of its folder", "write the name of a file in it: results.json")
    return value


def _check_in_container(value: str) -> str:
    if not value.startswith("/"):
        raise fixable("is not a path in the container", "write the whole path: /...")
    return check_host_path(value)


def _check_word(value: str) -> str:
    if not value or value.startswith("-") or any(char.isspace() for char in value):
        raise fixable(
            "is not the name of an image",
            "write it as registry.example.com/name:tag, without spaces",
        )
    return value


def _check_model(value: str) -> str:
    if value.startswith("-"):
        raise fixable("begins with '-', as an option does", "give the model another name")
    if len(value.encode()) > LONGEST_NAME:
        raise fixable(f"has more than {LONGEST_NAME} bytes", "give the model a shorter name")
    return value


HostPath = Annotated[str, AfterValidator(check_host_path)]
"""A file or folder of the host."""

OutputPath = Annotated[str, AfterValidator(_check_output)]

InsidePath = Annotated[str, AfterValidator(_check_inside)]
"""A file below a folder of ours, which it does not leave."""

ContainerPath = Annotated[str, AfterValidator(_check_in_container)]

Image = Annotated[str, AfterValidator(_check_word)]

ModelName = Annotated[str, AfterValidator(_check_model)]

Mounted = Annotated[dict[HostPath, ContainerPath], BeforeValidator(empty_if_null)]
"""Host folder: path in the container."""

Walltime = Annotated[str, BeforeValidator(_colons_again), AfterValidator(_check_walltime)]
Script = Annotated[str | None, SeveralLines()]
"""A shell command, or words of one."""

Free = Annotated[dict[str, Any], SeveralLines(), BeforeValidator(empty_if_null)]
"""A mapping whose keys others know: a harness, a service."""

FreeOrNone = Annotated[dict[str, Any] | None, SeveralLines()]

Positive = Annotated[int, Field(gt=0)]
Written = Annotated[str, Field(min_length=1)]
Names = Annotated[list[str], BeforeValidator(lambda value: [] if value is None else value)]
