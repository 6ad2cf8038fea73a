"""A cluster's login node, seen from a machine that is not on the cluster: where it is, and where on
it everything lies that a start from elsewhere brings."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from snakeval import __version__
from snakeval.plan.code import code_digest

ON_LOGIN_NODE = "SNAKEVAL_ON_LOGIN_NODE"
"""The variable that is set for what a start from elsewhere runs there: it goes no further."""

CONTROLLER_AS_JOB = "controller=job"


@dataclass(frozen=True)
class Login:
    """A login node.

    target  as ssh has it: `me@login.example.org`, or a name of the user's own ssh config
    folder  what is brought lies below it: absolute, or relative to the home folder there
    own     a clone of the pipeline there, with its environment; empty: one is made in `folder`
    """

    target: str
    folder: str
    own: str = ""

    @property
    def clone(self) -> str:
        """The pipeline there: relative to `folder`, or absolute. A made one is never changed, so
        that a run keeps the code that it began with."""
        return self.own or f"clone-{__version__}-{code_digest()}"

    @property
    def snakeval(self) -> str:
        return f"{self.clone}/.venv/bin/snakeval"

    @property
    def python(self) -> str:
        return f"{self.clone}/.venv/bin/python"

    def place(self, files: Sequence[str | Path]) -> str:
        """Where the config of these files lies there, relative to `folder`: for each machine and
        each path its own."""
        paths = [str(Path(file).expanduser().resolve()) for file in files]
        name = "\0".join([platform.node(), *paths])
        own = hashlib.sha256(name.encode()).hexdigest()[:8]
        return f"configs/{PurePosixPath(paths[-1]).stem}-{own}"

    def config(self, files: Sequence[str | Path]) -> str:
        return f"{self.place(files)}/config.yaml"

    def entered(self, script: str) -> str:
        """A script that begins in `folder`, with the variables of `.env` there, in a login shell's
        environment."""
        return (
            f"cd && cd -- {shlex.quote(self.folder)} || exit 1; "
            f"[ ! -f .env ] || {{ set -a; . ./.env; set +a; }}; "
            f"export {ON_LOGIN_NODE}=1; {script}"
        )

    def by_hand(self, files: Sequence[str | Path]) -> str:
        """The ssh command that starts the config of these files, once it has been brought."""
        words = [self.snakeval, "run", "--config", self.config(files), "-o", CONTROLLER_AS_JOB]
        script = f"cd {shlex.quote(self.folder)} && {shlex.join(words)}"
        return f"ssh {self.target} {shlex.quote(script)}"
