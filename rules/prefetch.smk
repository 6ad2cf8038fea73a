"""What nodes without internet need, brought here first: a target without outputs.

in   the config's benchmarks that are not finished, and the profile's container_runtime
out  files in <output_dir>/images that the next start knows of; datasets in the shared
     Hugging Face cache, for harnesses that can be asked for them
"""


rule prefetch:
    log:
        ".snakemake/log/prefetch.log",
    params:
        arguments=PIPELINE.arguments.config,
        runtime=lambda wildcards, resources: resources.get(
            "container_runtime", "docker"
        ),
    shell:
        '"$SNAKEVAL_PYTHON" "$SNAKEVAL_ROOT/scripts/prefetch.py" {params.arguments}'
        " --runtime {params.runtime:q} 2> >(tee {log:q} >&2)"
