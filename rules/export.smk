"""Exports: what is published now, to every destination of the config or to one.

`auto_export` is part of a normal run where the config names destinations under
`execution.auto_export`.

in   the run's tables
out  a stamp named after what was sent and where to, made when every destination has got all of it.
     So a destination that was down gets it with the next start.

The other targets evaluate nothing: an export must never start a paid evaluation. A receipt per task
and destination says what was sent, so that only changed results are sent again.
"""


rule auto_export:
    input:
        PIPELINE.tables_of,
    output:
        "{run}/exports/of-{exported}",
    log:
        "{run}/exports/of-{exported}.log",
    retries: 0
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/export.py"'
        " --folder {wildcards.run:q} --auto --stamp {wildcards.exported}"
        " 2> >(tee {log:q} >&2)"


rule export_all:
    log:
        ".snakemake/log/export_all.log",
    params:
        runs=PIPELINE.arguments.export,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/export.py" {params.runs}'
        " 2> >(tee {log:q} >&2)"


rule export_local:
    log:
        ".snakemake/log/export_local.log",
    params:
        runs=PIPELINE.arguments.export,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/export.py" {params.runs} --to local'
        " 2> >(tee {log:q} >&2)"


rule export_mlflow:
    log:
        ".snakemake/log/export_mlflow.log",
    params:
        runs=PIPELINE.arguments.export,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/export.py" {params.runs} --to mlflow'
        " 2> >(tee {log:q} >&2)"


rule export_wandb:
    log:
        ".snakemake/log/export_wandb.log",
    params:
        runs=PIPELINE.arguments.export,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/export.py" {params.runs} --to wandb'
        " 2> >(tee {log:q} >&2)"


rule export_gsheets:
    log:
        ".snakemake/log/export_gsheets.log",
    params:
        runs=PIPELINE.arguments.export,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/export.py" {params.runs} --to gsheets'
        " 2> >(tee {log:q} >&2)"
