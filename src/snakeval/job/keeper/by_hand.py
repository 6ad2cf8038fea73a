"""`bash run.sh harness`: the harness's command and nothing else, in the runtime of the task.

No lease, no record, no check, nothing published: results go to `by-hand/` in the task's folder. The
command is shown as a person would type it.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys

from .. import attempt
from . import surroundings
from .hold import Hold
from .job import Failed, Job, exit_code
from .prepared import write_files
from .runtimes import runtime_of
from .servers import Servers
from .stop import Stopped

FOLDER = "by-hand"


def run(job: Job) -> int:
    """The exit code of the harness."""
    job.work, job.record = job.here / FOLDER / "results", job.here / FOLDER / "record"
    job.container += "-by-hand"
    servers = Servers(job)
    runtime = runtime_of(job, Hold(job, servers))
    try:
        for folder in (job.work, job.record):
            folder.mkdir(parents=True, exist_ok=True)
        write_files(job)
        for each in job.settings.beside:  # asked directly: there is no gateway
            url = runtime.seen_by_harness(each["url"])
            attempt.fill(job.record, each["reference"], url)
            job.urls.append(url)
        if lacking := runtime.lacking():
            raise Failed(lacking)
        if job.variables.missing:
            raise Failed(f"not set in this environment: {' '.join(job.variables.missing)}")
        servers.wait()
        if "model" in servers.addresses:
            path = job.settings.endpoint_path.lstrip("/")
            job.endpoint_url = f"{servers.addresses['model']}/{path}"
        surroundings.take(job)
        launch = runtime.launch()
    except (Failed, Stopped, OSError) as why:
        job.say(str(why))
        return 1
    print(f"+ {shlex.join(launch.words)}", file=sys.stderr, flush=True)
    signal.signal(signal.SIGINT, lambda number, frame: None)  # the harness hears it as well
    stdin = job.lifeline if launch.has_lifeline else None
    ended = subprocess.run(
        launch.words, env=launch.environment, cwd=launch.folder, stdin=stdin, check=False
    )
    return exit_code(ended.returncode)
