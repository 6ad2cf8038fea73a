"""The harness's variables: under names of their own until the launch, never this process's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..launch import OURS
from .settings import Settings

OURS_AS_TEXT = tuple(name.decode() for name in OURS)


class Variables:
    """What the harness gets beside what the caller has.

    own      each with its value
    secrets  values that no log may show
    missing  variables of this machine that the config names, and that are not set
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self.own: dict[str, str] = {}
        self.secrets: list[str] = []
        self.missing: list[str] = []
        for name, source in settings.variables.items():
            kind, _, text = source.partition(":")
            if kind == "lit":
                self.own[name] = text
            elif text in environment:
                self.own[name] = environment[text]
                self.secrets.append(environment[text])
            else:
                self.missing.append(text)
        for name in settings.wanted:
            if name in environment and name not in self.own:
                self.own[name] = environment[name]
                self.secrets.append(environment[name])
        self.key = self.own.get(settings.key_name) if settings.key_name else None

    def held(self) -> Iterator[tuple[str, str, str]]:
        """Name, the name that nothing else reads, and value: for a container's client, which has
        variables of its own."""
        for number, (name, value) in enumerate(self.own.items(), start=1):
            yield name, f"SNAKEVAL_VALUE_{number}", value

    def named(self) -> str:
        """Text for the shell of a container: gives the variables their names."""
        lines = []
        for name, held, _ in self.held():
            lines.append(f'[ -z "${{{held}+set}}" ] || export {name}="${held}"\n')
            lines.append(f"unset {held}\n")
        return "".join(lines)


def of_caller(environment: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables without those that are a script's alone."""
    return {name: value for name, value in environment.items() if not name.startswith(OURS_AS_TEXT)}
