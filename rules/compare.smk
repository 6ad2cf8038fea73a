"""Two runs side by side, and whether the candidate may be released: targets without outputs.

`--config base=<run> candidate=<run>`: ids, their beginnings, or folders; no config is needed.
"""


rule compare:
    log:
        ".snakemake/log/compare.log",
    params:
        runs=PIPELINE.arguments.comparison,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/compare.py" {params.runs}'
        " 2> >(tee {log:q} >&2)"


rule gate:
    log:
        ".snakemake/log/gate.log",
    params:
        runs=PIPELINE.arguments.verdict,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/gate.py" {params.runs}'
        " 2> >(tee {log:q} >&2)"
