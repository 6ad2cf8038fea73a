"""Makes the real lm-eval start in 3 s instead of 13 s, for tests that start it many times.

lm-eval 0.4.13 reads its 14,000 task files at every start; the tests' tasks all lie in the folder
that `--include_path` names, so that index is left out. Nothing else is changed. Put on PYTHONPATH
by the `quick_lm_eval` fixture; one test of the demo runs without it.
"""

import functools
import sys

if any(word.rpartition("/")[2] in ("lm_eval", "lm-eval") for word in sys.orig_argv[:3]):
    from lm_eval.tasks.manager import TaskManager

    TaskManager.__init__ = functools.partialmethod(TaskManager.__init__, include_defaults=False)
