"""The one place that calls ssh and rsync: the user's own, with the user's own set-up.

Nobody is asked for anything (`BatchMode`): no password, no host key. What is in the user's ssh
config counts: names, keys, jumps, shared connections. Nothing of it is overridden.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from snakeval.errors import InputError, Problem
from snakeval.executors.login import Login
from snakeval.job.text import plain

BATCH = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=60")
OF_SSH = 255
"""Exit code of ssh itself, where there is no connection."""
Show = Callable[[str], None]
"""Gets a line."""


@dataclass(frozen=True)
class Said:
    """How something ended on the login node, and what it said, both streams together."""

    code: int
    lines: Sequence[str]

    @property
    def last(self) -> str:
        return next((line for line in reversed(self.lines) if line.strip()), "")


@dataclass(frozen=True)
class Trouble:
    """What ssh, rsync or a shell say, and what it means. {line}, {target} and {host} are filled in.

    In the order in which they are looked for.
    """

    said: str
    what: str
    fix: str


TROUBLES = (
    Trouble(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one that this machine knows",
        "ask those who run it whether it was changed; then `ssh-keygen -R {host}`, and "
        "`ssh {target}` once by hand",
    ),
    Trouble(
        r"Host key verification failed",
        "its host key is not known to this machine",
        "`ssh {target}` once by hand, compare the fingerprint, and answer yes",
    ),
    Trouble(
        r"Permission denied \([\w,@.-]+\)|Too many authentication failures",
        "does not let you in without asking for something",
        "`ssh -o BatchMode=yes {target} true` must work: `ssh-add`, `ssh-copy-id {target}`, or an "
        "open shared connection (ControlMaster); is execution.username right?",
    ),
    Trouble(
        r"Could not resolve hostname|Name or service not known",
        "this machine knows no host of that name",
        "correct execution.hostname, or give the name a Host section in ~/.ssh/config",
    ),
    Trouble(
        r"Connection refused|timed out|No route to host|Network is unreachable|Connection closed"
        r"|Connection reset|Broken pipe|closed by remote host",
        "there is no connection: {line}",
        "is the network there, and the VPN up? `ssh {target}` by hand shows more",
    ),
    Trouble(
        r"No space left on device|[Qq]uota exceeded",
        "its disk is full: {line}",
        "make room there, or name a folder on another disk: execution.login_folder",
    ),
    Trouble(
        r"rsync: (command )?not found|rsync: No such file|rsync: Command not found",
        "has no rsync",
        "it must be on the PATH of `ssh {target} rsync --version`; ask those who run it",
    ),
    Trouble(
        r"Read-only file system|Permission denied",
        "nothing can be written there: {line}",
        "name a folder of your own: execution.login_folder",
    ),
)


class Connection:
    """Commands on a login node, and copies to and from it."""

    def __init__(self, login: Login) -> None:
        self.login = login
        for program in ("ssh", "rsync"):
            if shutil.which(program) is None:
                fix = f"install it, or start on {login.target} itself"
                raise InputError([Problem(program, "is not on the PATH of this machine", fix)])

    # --- commands --------------------------------------------------------------------------------

    def ask(self, script: str, shown: Show | None = None) -> Said:
        """Runs a script of bash there, in a login shell. Raises InputError where there is no
        connection.

        shown  gets every line as it comes
        """
        return self._connected(_ended(self._command(script, "-T"), shown))

    def checked(self, script: str, what: str) -> Said:
        """The same, where it must not fail.

        what  was tried, for the message
        """
        said = self.ask(script)
        if said.code != 0:
            raise InputError([self.problem(said, what)])
        return said

    def hand_over(self, script: str) -> int:
        """Gives the terminal to a script there, Ctrl-C included; its exit code."""
        terminal = "-t" if sys.stdin.isatty() and sys.stdout.isatty() else "-T"
        with subprocess.Popen(
            self._command(script, terminal),
            stdin=None if terminal == "-t" else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            assert process.stderr
            lines = _passed_on(process.stderr, _to_stderr)
        self._connected(Said(process.returncode, lines))
        return process.returncode

    def _command(self, script: str, terminal: str) -> list[str]:
        # A login shell: `module load`, PATH and variables are in its profile.
        return ["ssh", *BATCH, terminal, "--", self.login.target, f"bash -lc {shlex.quote(script)}"]

    # --- copies ----------------------------------------------------------------------------------

    def bring(self, sources: Sequence[Path], folder: str, *options: str) -> None:
        """Copies files and folders into a folder there, which is made. Raises InputError.

        folder  relative to the login node's folder, or absolute
        """
        self._copy(
            [*options, *(str(source.absolute()) for source in sources)],
            folder,
            [f"{self.login.target}:./"],
            makes=True,
        )

    def bring_contents(self, source: Path, folder: str, *options: str) -> None:
        """The same for what is in one folder."""
        self._copy([*options, f"{source}/"], folder, [f"{self.login.target}:./"], makes=True)

    def take(self, folder: str, to: Path, *options: str) -> None:
        """Copies what is in a folder there into one here. Raises InputError."""
        to.mkdir(parents=True, exist_ok=True)
        self._copy([*options, f"{self.login.target}:./"], folder, [f"{to}/"], makes=False)

    def _copy(self, words: Sequence[str], folder: str, to: Sequence[str], *, makes: bool) -> None:
        # The shell there enters the folder: so every rsync takes it, whatever is in its name.
        enter = f"cd && {_made(self.login.folder, makes)} && {_made(folder, makes)} && rsync"
        ssh = shlex.join(["ssh", *BATCH])
        said = _ended(["rsync", "-a", "-z", "-e", ssh, "--rsync-path", enter, *words, *to], None)
        if said.code != 0:
            raise InputError([self.problem(said, "copying")])

    # --- what went wrong -------------------------------------------------------------------------

    def _connected(self, said: Said) -> Said:
        if said.code == OF_SSH and (problem := self._known(said)):
            raise InputError([problem])
        if said.code == OF_SSH and said.last:
            raise InputError([self.problem(said, "ssh")])
        return said

    def problem(self, said: Said, what: str) -> Problem:
        """Why something has failed, in one sentence."""
        fix = f"`ssh {self.login.target}` by hand shows more"
        told = f"{what} failed: {said.last or f'exit code {said.code}'}"
        return self._known(said) or Problem(self.login.target, told, fix)

    def _known(self, said: Said) -> Problem | None:
        for trouble in TROUBLES:
            line = next((line for line in said.lines if re.search(trouble.said, line)), None)
            if line is not None:
                target = self.login.target
                filled = {"line": line.strip(), "target": target, "host": target.rpartition("@")[2]}
                return Problem(target, trouble.what.format(**filled), trouble.fix.format(**filled))
        return None


def _made(folder: str, makes: bool) -> str:
    quoted = shlex.quote(folder)
    return f"mkdir -p {quoted} && cd {quoted}" if makes else f"cd {quoted}"


def _ended(command: Sequence[str], shown: Show | None) -> Said:
    """Runs a command to its end; what it says, in lines."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout
        lines = _passed_on(process.stdout, shown)
    return Said(process.returncode, lines)


def _to_stderr(line: str) -> None:
    """What is told in a sentence of ours, or is of no use to a person, is left out."""
    of_ssh = (trouble.said for trouble in TROUBLES[:5])
    if not line.startswith("Connection to ") and not any(re.search(each, line) for each in of_ssh):
        print(line, file=sys.stderr, flush=True)


def _passed_on(stream: IO[str], shown: Show | None) -> list[str]:
    """The lines of a stream, without what a terminal would obey; each is shown as it comes."""
    lines: list[str] = []
    for line in stream:
        lines.append(plain(line.rstrip("\n")))
        if shown:
            shown(lines[-1])
    return lines
