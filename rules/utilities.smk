"""Looking at runs, stopping them, making room: targets without outputs.

They run beside a running pipeline, with or without a config; `--config run=<id or prefix>` names
the run, else it is the config's, else the latest one.
"""


rule status:
    log:
        ".snakemake/log/status.log",
    params:
        runs=PIPELINE.arguments.runs,
        watch=PIPELINE.arguments.watch,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/status.py" {params.runs} {params.watch}'
        " 2> >(tee {log:q} >&2)"


rule logs:
    log:
        ".snakemake/log/logs.log",
    params:
        runs=PIPELINE.arguments.runs,
        task=PIPELINE.arguments.logs,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/logs.py" {params.runs} {params.task}'
        " 2> >(tee {log:q} >&2)"


rule ls_runs:
    log:
        ".snakemake/log/ls_runs.log",
    params:
        runs=PIPELINE.arguments.runs,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/ls_runs.py" {params.runs}'
        " 2> >(tee {log:q} >&2)"


rule fetch:
    log:
        ".snakemake/log/fetch.log",
    params:
        runs=PIPELINE.arguments.runs,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/fetch.py" {params.runs}'
        " 2> >(tee {log:q} >&2)"


rule kill:
    log:
        ".snakemake/log/kill.log",
    params:
        runs=PIPELINE.arguments.runs,
        task=PIPELINE.arguments.task,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/kill.py" {params.runs} {params.task}'
        " 2> >(tee {log:q} >&2)"


rule clean:
    log:
        ".snakemake/log/clean.log",
    params:
        runs=PIPELINE.arguments.runs,
        flags=PIPELINE.arguments.clean,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/clean.py" {params.runs} {params.flags}'
        " 2> >(tee {log:q} >&2)"
