"""Models x benchmarks over several runs: a target without outputs.

`--config runs=<id>,<id>`: ids, their beginnings, or folders; else the runs of the config (a sweep);
else all that the output folder has. Writes leaderboard.csv, .json and .html into that folder.
"""


rule leaderboard:
    log:
        ".snakemake/log/leaderboard.log",
    params:
        runs=PIPELINE.arguments.board,
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/leaderboard.py" {params.runs}'
        " 2> >(tee {log:q} >&2)"
