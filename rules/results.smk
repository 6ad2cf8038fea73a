"""The tables of a run: results.csv and results.json.

in   the published results of this start
out  a stamp named after the results that the tables show. There is at most one: writing tables
     removes the others, so that a spec that was changed back gets its tables back. The name is
     the whole truth: times count for nothing, so that a copied run needs no new tables.
"""


rule results:
    input:
        PIPELINE.members,
    output:
        "{run}/results/of-{members}",
    log:
        "{run}/results/of-{members}.log",
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/results.py"'
        " {wildcards.run:q} {wildcards.members} 2> {log:q}"
