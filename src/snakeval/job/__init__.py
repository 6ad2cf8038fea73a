"""What runs inside a job, on any machine, without this package: copied into every run folder.

`run.sh` (with one of the `runtime_*.sh`) is the body of each task's script. It calls `attempt.py`,
and `verify.py` with what that imports (`result_formats/`, `harness_log.py`, `answer_cache.py`);
they need only the standard library and a YAML parser, Python 3.9 or newer.
"""
