"""The page about a run: `<run>/results/report.html`, self-contained.

A target without output: it shows what is published at the moment it is asked for.
"""


rule report:
    log:
        ".snakemake/log/report.log",
    params:
        runs=PIPELINE.arguments.runs,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/report.py" {params.runs}'
        " 2> >(tee {log:q} >&2)"
