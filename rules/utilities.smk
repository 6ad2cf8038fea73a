"""Looking at runs and stopping them: targets without outputs.

They run beside a running pipeline, with or without a config; `--config run=<id or prefix>` names
the run, else it is the config's, else the latest one.
"""


rule status:
    shell:
        "{PYTHON:q} {SCRIPTS:q}/status.py {PIPELINE.run_arguments}"


rule logs:
    shell:
        "{PYTHON:q} {SCRIPTS:q}/logs.py {PIPELINE.run_arguments} {PIPELINE.log_arguments}"


rule ls_runs:
    shell:
        "{PYTHON:q} {SCRIPTS:q}/ls_runs.py {PIPELINE.run_arguments}"


rule kill:
    shell:
        "{PYTHON:q} {SCRIPTS:q}/kill.py {PIPELINE.run_arguments}"
