"""Which version of a server's image is started how, and where that is known from.

No GPU was at hand: these are facts of documentation, each with its source. The version is what the
image's tag says; nothing is read from an image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, int]


@dataclass(frozen=True)
class Form:
    """How images of a type are started, from a version on.

    since          the first version (major, minor) that is started so
    program        what begins the command
    named          whether it is told the model's name, as the benchmarks ask for it
    port_variable  the variable that says its port; empty: a flag does
    source         where this is from
    """

    since: Version
    program: str
    source: str
    named: bool = True
    port_variable: str = ""


FORMS: dict[str, tuple[Form, ...]] = {
    "vllm": (Form((0, 0), "vllm serve", "the launcher's group `deployment/vllm`"),),
    "vllm_ray": (Form((0, 0), "vllm serve", "the launcher's group `deployment/vllm_ray`"),),
    "sglang": (
        Form((0, 0), "python3 -m sglang.launch_server", "the launcher's group `deployment/sglang`"),
    ),
    "trtllm": (
        # -n 1: trtllm-serve starts its workers itself
        Form(
            (1, 3),
            "mpirun --allow-run-as-root --oversubscribe -n 1 trtllm-serve serve",
            "TensorRT-LLM, pull request 11711",
        ),
        Form(
            (0, 0),
            "mpirun --allow-run-as-root --oversubscribe -n 1 trtllm-serve serve",
            "the launcher's group `deployment/trtllm`; `trtllm-serve`'s reference",
            named=False,
        ),
    ),
    "nim": (
        Form(
            (2, 0),
            "nim-serve",
            "NVIDIA's guide from NIM LLM 1.x to 2.0, and its list of variables 2.0",
            port_variable="NIM_SERVER_PORT",
        ),
        Form(
            (0, 0),
            "/opt/nvidia/nvidia_entrypoint.sh /opt/nim/start_server.sh",
            "the launcher's group `deployment/nim`",
            port_variable="NIM_HTTP_API_PORT",
        ),
    ),
}
"""Of each type, the newest first."""

_TAG = re.compile(r":v?(\d{1,4})\.(\d{1,4})(?!\d)([^@/]*)(@|$)")


def version_of(image: str | None) -> Version | None:
    """What an image's tag says of its version; None: nothing. A candidate (`1.3.0rc2`) may be
    older than what its version came with, and counts as the version before."""
    found = _TAG.search(image or "")
    if not found:
        return None
    major, minor = int(found[1]), int(found[2])
    return (major, minor - 1) if re.search(r"rc|alpha|beta|dev", found[3]) else (major, minor)


def form_of(kind: str, image: str | None) -> Form | None:
    """How an image of a type is started; where its tag says no version, as the oldest one, which
    is the launcher's way. None: the type has no command of its own."""
    forms = FORMS.get(kind, ())
    version = version_of(image) or (0, 0)
    return next((each for each in forms if version >= each.since), forms[-1] if forms else None)


def untold(kind: str, image: str | None) -> str:
    """Where versions of a type are started differently and the tag says none: what is taken for
    granted, in words; else nothing."""
    forms = FORMS.get(kind, ())
    if len(forms) < 2 or version_of(image) is not None:
        return ""
    major, minor = forms[0].since
    return f"is started as versions before {major}.{minor} are: its tag says no version"
