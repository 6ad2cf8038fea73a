"""What can be evaluated, and what a config comes to: targets without outputs.

They create nothing; only `update_catalogue` writes the catalogue's files, from an image.
"""


rule ls_tasks:
    log:
        ".snakemake/log/ls_tasks.log",
    params:
        config=PIPELINE.arguments.config,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/ls_tasks.py" {params.config}'
        " 2> >(tee {log:q} >&2)"


rule ls_task:
    log:
        ".snakemake/log/ls_task.log",
    params:
        config=PIPELINE.arguments.config,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/ls_task.py" {params.config}'
        " 2> >(tee {log:q} >&2)"


rule show_config:
    log:
        ".snakemake/log/show_config.log",
    params:
        config=PIPELINE.arguments.config,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/show_config.py" {params.config}'
        " 2> >(tee {log:q} >&2)"


rule update_catalogue:
    log:
        ".snakemake/log/update_catalogue.log",
    params:
        values=PIPELINE.arguments.values,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/update_catalogue.py" {params.values}'
        " 2> >(tee {log:q} >&2)"
