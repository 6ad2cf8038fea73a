"""A start of Snakemake does not import pandas for a report that nobody has asked for."""

import subprocess
import sys

import pytest

SNAKEMAKE = "import sys; import snakeval_before_snakemake; import snakemake.cli"


def said(*lines: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join([SNAKEMAKE, *lines])],
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.strip()


def test_pandas_is_imported_by_no_start() -> None:
    names = "'snakemake_executor_plugin_slurm', 'pandas'"
    assert said(f"print([name for name in ({names}) if name in sys.modules])") == (
        "['snakemake_executor_plugin_slurm']"
    )


def test_the_report_is_the_plugins_own() -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm")
    assert (
        said(
            "import snakemake_executor_plugin_slurm as plugin",
            "try:",
            "    plugin.create_efficiency_report()",  # the real one misses its arguments
            "except TypeError as error:",
            "    print('create_efficiency_report() missing' in str(error))",
            "print('pandas' in sys.modules)",
        )
        == "True\nTrue"
    )
