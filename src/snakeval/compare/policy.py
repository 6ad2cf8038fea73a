"""The typed model of a policy file (`config/policies/*.yaml`), and reading one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from snakeval.config.explain import invalid
from snakeval.config.read import read_mapping
from snakeval.config.sections import Section, fixable
from snakeval.errors import InputError, Problem


class Rule(Section):
    """How far the scores of a benchmark may drop; exactly one of the two limits."""

    max_drop: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Largest allowed drop, in the score's own units: 0.02 is 2 points of 100."
    )
    max_relative_drop: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Largest allowed drop as a share of base's score: 0.02 is 2% of it."
    )
    level: Literal["critical", "advisory"] = Field(
        "critical", description="advisory: is told, and never changes the verdict."
    )
    metric: str | None = Field(
        None, description="Only this metric, as in results.csv; null: every score."
    )
    filter: str | None = Field(
        None, description="Only this `score` of results.csv, such as strict-match; null: every one."
    )
    better: Literal["higher", "lower"] | None = Field(
        None,
        description="Which way the scores are better; lower: an increase counts as a drop (error "
        "rates, perplexity). null: what the results say. Where neither says it, the gate decides "
        "nothing.",
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Rule:
        if (self.max_drop is None) == (self.max_relative_drop is None):
            raise fixable(
                "needs exactly one of max_drop and max_relative_drop", "write max_drop: 0.02"
            )
        return self


class Policy(Section):
    """What a candidate must keep up to."""

    description: str = Field("", description="What the policy is for; stands above its verdict.")
    benchmarks: dict[str, Rule] = Field(
        default_factory=dict,
        description="A rule per benchmark, by the name of its folder in the run. One that cannot "
        "be compared makes the verdict INCONCLUSIVE, if it is critical.",
    )
    suites: dict[str, Rule] = Field(
        default_factory=dict,
        description="A rule per suite, by the name of its file in config/suites: about its one "
        "number.",
    )
    others: Rule | None = Field(
        None, description="The rule of all benchmarks that are not named; null: they do not count."
    )

    @model_validator(mode="after")
    def _decides_something(self) -> Policy:
        rules = [*self.benchmarks.values(), *self.suites.values()]
        rules += [self.others] if self.others else []
        if not any(rule.level == "critical" for rule in rules):
            raise fixable(
                "has no critical rule, so it could refuse nothing",
                "name a benchmark under `benchmarks`, or give `others: {max_drop: 0.02}`",
            )
        return self


def read_policy(path: Path) -> Policy:
    """A checked policy. Raises InputError with everything that is wrong."""
    if not path.is_file():
        fix = "name a file, such as config/policies/release.yaml"
        raise InputError([Problem(str(path), "there is no such policy", fix)])
    raw = read_mapping(path)
    try:
        return Policy.model_validate(raw)
    except ValidationError as error:
        raise InputError(invalid(error, [(path, raw)], Policy)) from None
