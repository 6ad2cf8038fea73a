"""A model's server, brought up for the benchmarks of this start that need it.

in   nothing; where GPUs are limited, the run's first server before its others
out  up.<start>, a token named after this start: left over, it counts for no other start

It returns when the server is healthy. The server's life does not hang on the DAG, which runs no
job twice and nothing behind a failed one: it hangs on the supervisor, `server.sh`, which restarts
it, and takes it down when the last benchmark has ended.

It waits most of the time, and takes no core from the benchmarks. Under a limit of the resource
`gpu` it waits until the servers of other models have given back enough.
"""


rule deploy:
    input:
        PIPELINE.servers_before,
    output:
        "{run}/deployments/{deployment}/up.{start}",
    log:
        "{run}/deployments/{deployment}/logs/deploy.{start}.log",
    retries: 0
    threads: 0
    resources:
        **PIPELINE.server_resources(),
    params:
        gpus=PIPELINE.gpus_asked,
    message:
        "bringing up the server '{wildcards.deployment}' (log: {log})"
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/deploy.py" {wildcards.run:q}'
        " {wildcards.deployment:q} {wildcards.start} {params.gpus} 2> >(tee {log:q} >&2)"
