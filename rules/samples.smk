"""Single samples: `<run>/results/samples.parquet`, a row per sample and metric.

The tables' rule writes it too; this target is for a run that was evaluated by hand or by an older
version. What is there already is not read again.
"""


rule samples:
    log:
        ".snakemake/log/samples.log",
    params:
        runs=PIPELINE.arguments.runs,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/samples.py" {params.runs}'
        " 2> >(tee {log:q} >&2)"
