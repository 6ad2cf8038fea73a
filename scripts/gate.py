"""Decides whether a candidate may be released: GO, NO-GO or INCONCLUSIVE.

Exit code 0: GO; 1: NO-GO; 2: INCONCLUSIVE; 3: nothing was decided, because of what stands on
stderr. `snakemake gate` does the same, but Snakemake knows only 0 and 1.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from snakeval.cli.entry import COMPARED, SUITES, compared_runs, parsed
from snakeval.compare.comparison import compare
from snakeval.compare.comparison import write as write_comparison
from snakeval.compare.policy import read_policy
from snakeval.compare.suite import read_suite
from snakeval.compare.suited import with_suites
from snakeval.compare.verdict import decide, write
from snakeval.compare.verdict_table import print_verdict
from snakeval.errors import InputError

NOTHING_DECIDED = 3
DEFAULT = Path(__file__).resolve().parents[1] / "config" / "policies" / "release.yaml"


def main() -> int:
    arguments = parsed(__doc__, *COMPARED, "--policy")
    file = arguments.policy or DEFAULT
    policy = read_policy(file)
    named = dict.fromkeys([*policy.suites, *([arguments.suite] if arguments.suite else [])])
    suites = [read_suite(name, SUITES) for name in named]
    base, candidate = compared_runs(arguments)
    comparison = with_suites(compare(base, candidate), suites)
    verdict = decide(policy, comparison)
    print_verdict(verdict, file.name, policy.description)
    write_comparison(comparison, candidate)
    write(verdict, file.name, comparison, candidate)
    print(f"Verdict: {candidate.paths.verdict(base.paths.id)}")
    return verdict.exit_code


def guarded() -> int:
    """A mistake in the call, or in the program, must not look like a verdict."""
    try:
        return main()
    except InputError as error:
        print("\n".join(str(problem) for problem in error.problems), file=sys.stderr)
    except SystemExit as ended:  # argparse ends with 2
        return NOTHING_DECIDED if ended.code else 0
    except Exception:
        traceback.print_exc()
    return NOTHING_DECIDED


if __name__ == "__main__":
    sys.exit(guarded())
