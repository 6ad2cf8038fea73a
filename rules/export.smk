"""Exports: what is published now, to every destination of the config or to one.

They evaluate nothing: an export must never start a paid evaluation. A receipt per task says what
was sent, so that only changed results are sent again.
"""


rule export_all:
    shell:
        "{PYTHON:q} {SCRIPTS:q}/export.py {PIPELINE.run_arguments}"
        " --catalogue {PIPELINE.catalogue:q}"


rule export_local:
    shell:
        "{PYTHON:q} {SCRIPTS:q}/export.py {PIPELINE.run_arguments}"
        " --catalogue {PIPELINE.catalogue:q} --to local"
