"""One benchmark, one job.

in   nothing; while it is not published, the servers that it needs. A finished benchmark has no
     input: it must not run again because something else did
out  published/<digest>, a link to the work folder of exactly this spec, made when the result is
     complete and checked. Snakemake may delete the link (of a failed job, of a job it repeats);
     the work folder it never touches, and the next start links it again.

`run.sh` is the whole job; a person can start it by hand.
"""


rule evaluate:
    input:
        PIPELINE.servers,
    output:
        directory("{run}/{task}/published/{digest}"),
    log:
        "{run}/{task}/logs/{digest}.log",
    resources:
        **PIPELINE.endpoint_resources(),
        **PIPELINE.cluster_resources(),
        # The last try is known as such: a server need not wait for another.
        attempt_number=lambda wildcards, attempt: attempt,
    message:
        "evaluating {wildcards.task} (log: {log})"
    shell:
        "bash {wildcards.run:q}/{wildcards.task:q}/run.sh {wildcards.digest}"
        " {resources.attempt_number}"
