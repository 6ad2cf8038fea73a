"""snakeval: LLM benchmarks as a Snakemake pipeline.

    snakemake --profile profiles/local --configfile my.yaml      evaluate; again: resume
    snakemake -n --profile profiles/local --configfile my.yaml   look first

A table of contents: what a benchmark is, and how it is run, is in src/snakeval.
"""

from snakemake.utils import min_version

from snakeval import pipeline

min_version("9.27")

PIPELINE = pipeline.load(workflow)


wildcard_constraints:
    task=r"[^/]+",
    digest=r"[0-9a-f]{12}",
    members=r"[0-9a-f]{12}",
    exported=r"[0-9a-f]{12}",
    deployment=r"[^/]+",
    start=r"[0-9a-f]{12}",


localrules:
    all,
    deploy,
    results,
    samples,
    auto_export,
    report,
    leaderboard,
    compare,
    gate,
    export_all,
    export_local,
    export_mlflow,
    export_wandb,
    export_gsheets,
    status,
    logs,
    ls_runs,
    fetch,
    kill,
    clean,
    prefetch,
    ls_tasks,
    ls_task,
    show_config,
    update_catalogue,


rule all:
    default_target: not PIPELINE.is_module
    input:
        PIPELINE.published,
        PIPELINE.tables,
        PIPELINE.exported,
        PIPELINE.reported,


include: "rules/deploy.smk"
include: "rules/evaluate.smk"
include: "rules/results.smk"
include: "rules/samples.smk"
include: "rules/export.smk"
include: "rules/report.smk"
include: "rules/compare.smk"
include: "rules/leaderboard.smk"
include: "rules/listing.smk"
include: "rules/prefetch.smk"
include: "rules/utilities.smk"


onstart:
    PIPELINE.start()


onsuccess:
    PIPELINE.finish()


onerror:
    PIPELINE.finish()
