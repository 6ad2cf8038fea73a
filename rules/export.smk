"""Exports: what is published now, to every destination of the config or to one.

They evaluate nothing: an export must never start a paid evaluation. A receipt per task says what
was sent, so that only changed results are sent again.
"""


rule export_all:
    log:
        ".snakemake/log/export_all.log",
    params:
        runs=PIPELINE.run_arguments,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/export.py" {params.runs}'
        " 2> >(tee {log:q} >&2)"


rule export_local:
    log:
        ".snakemake/log/export_local.log",
    params:
        runs=PIPELINE.run_arguments,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/export.py" {params.runs} --to local'
        " 2> >(tee {log:q} >&2)"
