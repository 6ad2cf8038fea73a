"""This workflow as a Snakemake `module` of somebody's own: where its config is, and which of their
files must be there before a model is evaluated.

    module snakeval:
        snakefile: "snakeval/Snakefile"
        config: {"configfile": "evaluation.yaml", "needs": "checkpoints/{model}/model.json"}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

from snakeval.errors import InputError, Problem, nearest
from snakeval.run_folder.layout import from_here
from snakeval.start.snakemake_internals import CommandLine, Module, log

if TYPE_CHECKING:
    from snakeval.plan.run import Run

FILES, NEEDS = "configfile", "needs"
"""Keys of the module's config; all others are what `--config` takes."""

PLACES = ("model", "name")
"""What a pattern of `needs` may hold."""


@dataclass(frozen=True)
class AsModule:
    """What a module's statement says.

    needs  pattern of a file that a rule of the workflow makes for each model
    named  the name of a rule in the workflow
    """

    name: str
    said: CommandLine
    needs: str
    named: Callable[[str], str]

    def check(self) -> None:
        """Ends Snakemake in a sentence for each mistake."""
        if problems := list(self.wrong()):
            log().error(str(InputError(problems)))
            raise SystemExit(1)

    def wrong(self) -> list[Problem]:
        """Its mistakes."""
        found = []
        place = f"module {self.name}: config"
        if not self.said.files:
            fix = f'config: {{"{FILES}": "my.yaml"}}'
            found.append(Problem(place, f"names no {FILES} of snakeval", fix))
        try:
            asked = [part for _, part, _, _ in Formatter().parse(self.needs) if part is not None]
        except ValueError as error:
            return [*found, Problem(f"{place}: {NEEDS}", f"is no pattern: {error}", "")]
        for part in asked:
            if part not in PLACES:
                what = f"has {{{part}}}, which nothing fills in"
                found.append(Problem(f"{place}: {NEEDS}", what, nearest(part, PLACES)))
        return found

    def needed(self, runs: Sequence[Run], task: str | None = None) -> list[str]:
        """What must be there before benchmarks of some runs: nothing for one that is published,
        which must not run again because somebody trains again.

        task  only this one
        """
        from snakeval.plan.pending import is_pending

        return [
            self.needs.format(model=run.identity["model_id"], name=run.config.name or "")
            for run in runs
            if self.needs
            and any(is_pending(run, each) for each in run.tasks if task in (None, each.name))
        ]


def of_module(module: Module | None) -> AsModule | None:
    """None where the Snakefile is nobody's module."""
    if module is None:
        return None
    values: Mapping[str, Any] = {
        key: value for key, value in module.config.items() if key not in (FILES, NEEDS)
    }
    given = module.config.get(FILES) or ()
    files = [given] if isinstance(given, str | Path) else list(given)
    said = CommandLine(values, [from_here(Path(file)) for file in files], [])
    return AsModule(module.name, said, str(module.config.get(NEEDS) or ""), module.named)
