"""What happens to a task, in this order: adopt what is finished, take the lease, prepare the work
folder, find the endpoint, run the harness, check, publish."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from pathlib import Path
from typing import NoReturn

from .. import attempt, cancelled, record
from ..causes import NOT_SAID, NOT_STARTED
from ..files import is_full
from ..launch import begun_with
from . import batch, surroundings
from .beside import Gateway, demo_endpoint
from .hold import DISK_FULL, Hold, has_room
from .job import Failed, Job, exit_code, from_here
from .killed import Counts
from .log_filter import LogFilter
from .prepared import begin_log, keep_answers, write_files
from .runtime import GRACE, Runtime
from .runtimes import runtime_of
from .servers import Servers
from .settings import read
from .stop import BROKEN, DEAD, FULL, LOST, MOVED, SPENT, UNPAID, Stopped

BY_HAND = "harness"
SLURM, CLOUD = "slurm", "cloud"
STATES = dict.fromkeys(("", FULL, SPENT, BROKEN, DEAD), "failed")
STATES |= dict.fromkeys((SLURM, MOVED, CLOUD), "interrupted")
EXIT_CODES = {"": 1, FULL: 1, SPENT: 1, BROKEN: 1, DEAD: 1, SLURM: 75, "INT": 130, "HUP": 129}
CANCELLED, TERMINATED = "cancelled", 143


class Keeper:
    """One attempt at a task, from the start of `run.sh` to its end."""

    def __init__(self, job: Job, words: list[str]) -> None:
        self._job = job
        self._words = words
        self._servers = Servers(job)
        self._hold = Hold(job, self._servers)
        self._runtime: Runtime = runtime_of(job, self._hold)
        self._gateway = Gateway(job)
        self._asked_at = ""
        self._deadline = ""
        self._batch_says = ""
        self._endpoints: dict[str, str] = {}
        self._told: set[str] = set()
        """Variables with addresses that this has told the harness."""
        self._code = 0
        self._killed_by = NOT_SAID

    def run(self) -> int:
        """The exit code of `run.sh`."""
        job, digest = self._job, self._job.settings.digest
        if self._words and self._words[0] not in ("", digest):
            meant = "run snakemake again: it renews the script"
            job.say(f"this script is for spec {digest}, not {self._words[0]}: {meant}")
            return 1
        if self._is_complete():
            return self._adopt()
        job.stop.heed()
        try:
            if not self._hold.take(self._runtime.sweep, self._is_complete):
                return self._adopt()
            self._evaluate()
        except Stopped:
            return self._end(f"{self._why_stopped()} before the harness ran")
        except attempt.Refused as why:  # nothing was tried, so nothing has failed
            job.stop.ignore()
            job.say(str(why))
            self._hold.release()
            return 1
        except Failed as why:
            return self._end(str(why))
        except Exception as error:
            import traceback

            with contextlib.suppress(OSError):
                traceback.print_exc()
            if is_full(error):
                from ..verify import DISK_FULL_CAUSE

                return self._end(DISK_FULL_CAUSE)
            return self._end(f"the keeper failed: {type(error).__name__}: {error}")
        return self._publish()

    # --- what is finished is linked again, at once -----------------------------------------------

    def _is_complete(self) -> bool:
        """Nothing in the work folder says so: it is the harness's."""
        return self._job.paths.is_complete(self._job.settings.digest)

    def _adopt(self) -> int:
        job = self._job
        job.stop.ignore()
        try:
            why_not = attempt.publish(job.here, job.settings.digest)
        except OSError as error:
            why_not = f"{error.strerror}: {error.filename}"
        if why_not:
            job.say(why_not)
            return 1
        job.say(f"finished before; nothing is asked again ({job.paths.artifacts})")
        return 0

    # --- the attempt -----------------------------------------------------------------------------

    def _evaluate(self) -> None:
        """From the lease to a result that was checked. Raises Failed, Stopped, Refused."""
        self._prepare()
        self._find_endpoint()
        self._run_harness()
        self._leave_if_lost()
        if self._job.stop.by:
            raise Failed(self._why_stopped())
        self._check()

    def _prepare(self) -> None:
        """A folder in which this attempt's results are the only ones."""
        job, settings = self._job, self._job.settings
        if not has_room(job):
            raise Failed(DISK_FULL)
        self._deadline = batch.deadline()
        job.stop.look()
        self._begin()
        self._hold.until = batch.ends_at(job)
        if lacking := self._runtime.lacking():
            raise Failed(lacking)
        self._gateway.prepare()
        # What `snakemake prefetch` has put beside the runs; without it the image is asked for by
        # its name.
        archive = job.run_dir.parent / settings.archive
        if settings.archive and archive.exists():
            self._runtime.take_archive(str(archive))
        if job.variables.missing:
            unset = " ".join(job.variables.missing)
            raise Failed(f"not set in this environment: {unset}")

    def _begin(self) -> None:
        job, settings = self._job, self._job.settings
        for folder in (job.work, job.record, job.paths.logs):
            with _or_failed("the work folder cannot be made"):
                folder.mkdir(parents=True, exist_ok=True)
        with _or_failed("the attempt could not be recorded"):
            job.number = attempt.begin(
                job.here,
                settings.digest,
                runtime=settings.runtime,
                image=settings.image,
                container=job.container,
                deadline=self._deadline,
                pid=os.getpid(),
                is_last=not self._is_tried_again(),
                stale=settings.stale,
            )
        with _or_failed("the log cannot be written"):
            job.log = begin_log(job.paths.logs, job.number, settings.digest)
        with _or_failed(f"the run config cannot be written into {job.record}"):
            write_files(job)

    def _is_tried_again(self) -> bool:
        """Snakemake says which try this is; nobody tries again after the last one, or by hand."""
        this = self._words[1] if len(self._words) > 1 else ""
        return int(this or 1) <= int(os.environ.get("SNAKEVAL_RETRIES") or 0)

    def _find_endpoint(self) -> None:
        job, settings = self._job, self._job.settings
        if job.variables.key is not None:  # for this process's own questions
            os.environ["SNAKEVAL_KEY_NAME"] = settings.key_name
            os.environ["SNAKEVAL_KEY"] = job.variables.key
        self._servers.wait()
        beside = dict(self._servers.addresses)
        if model := beside.pop("model", ""):
            job.endpoint_url = f"{model}/{settings.endpoint_path.lstrip('/')}"
        surroundings.take(job)
        if settings.demo_endpoint:
            job.endpoint_url = demo_endpoint(job)
        if settings.check_model:
            self._asked_at = job.endpoint_url
            name, key = settings.endpoint_model, settings.key_name or None
            if why := job.stop.during(lambda: attempt.refused(self._asked_at, name, key)):
                raise Failed(why)
        self._endpoints = {"model": job.endpoint_url, **beside}
        self._runtime.sweep()  # here, since the gateway may still be being imported
        if settings.gateway:
            given = {each["name"]: each["url"] for each in settings.beside}
            self._gateway.begin({**self._endpoints, **given}, self._runtime.ways_here)
        self._tell_addresses()
        self._follow_servers()

    def _follow_servers(self) -> None:
        """Through the gateway the harness asks a server wherever it is; what it was told stays."""
        if self._gateway.is_there:
            self._servers.patience = self._job.settings.gateway_patience
            self._hold.lead = self._lead

    def _lead(self, name: str, url: str) -> bool:
        if not self._gateway.is_there:
            return False
        self._gateway.lead(name, url)
        if name == "model" and self._asked_at:
            self._asked_at = f"{url}/{self._job.settings.endpoint_path.lstrip('/')}"
        self._job.say(
            f"the server '{name}' is at {url} now; what it had not answered is asked there"
        )
        return True

    def _tell_addresses(self) -> None:
        """The endpoints as the harness gets them: through the gateway, where there is one."""
        job = self._job
        with _or_failed("the run config cannot be written"):
            keep_answers(job, self._gateway.is_there)
        job.urls = []
        for name, url in self._endpoints.items():
            url = self._gateway.address_for(name, url)
            if name == "model":
                job.endpoint_url = url
            else:
                self.use_auxiliary(name, url)
        for each in job.settings.beside:
            url = self._gateway.address_for(each["name"], each["url"])
            self._fill(each["reference"], self._runtime.seen_by_harness(url))

    def use_auxiliary(self, name: str, url: str) -> None:
        """The endpoints of a server beside the model's (a judge): as variables of the harness, and
        in place of the references to them in its command and its config."""
        job, own = self._job, self._job.variables.own
        for each in job.settings.auxiliary:
            variable = each["variable"]
            if each["server"] != name:
                continue
            seen = self._runtime.seen_by_harness(f"{url}/{each['path'].lstrip('/')}")
            if variable not in own or variable in self._told:  # the user's own comes first
                own[variable] = seen
                self._told.add(variable)
            self._fill(each["reference"], seen)

    def _fill(self, reference: str, url: str) -> None:
        """An address in the files that the harness is given."""
        self._job.urls.append(url)
        with _or_failed("the address of a server cannot be filled in"):
            attempt.fill(self._job.record, reference, url)

    def _run_harness(self) -> None:
        """Again where it has not begun, since its container does not reach the gateway."""
        self._start_and_wait()
        while not self._job.stop.by and not self._runtime.has_reached(self._code):
            self._gateway.take_next_way()
            with _or_failed("the run config cannot be written"):
                write_files(self._job)
                self._job.log.write_bytes(b"")  # what it said is no cause of anything
            self._tell_addresses()
            self._runtime.sweep()
            self._start_and_wait()
        self._gateway.end()

    def _start_and_wait(self) -> None:
        job = self._job
        with _or_failed("the harness cannot be started"):
            launch = self._runtime.launch()
        output = LogFilter(job.log, job.variables.secrets)
        runtime = job.settings.runtime
        job.say(
            f"attempt {job.number} started ({runtime})",
            f"tail -f {shlex.quote(from_here(job.log))}",
        )
        job.stop.look()
        counts, since = Counts(), time.time()
        with _or_failed("the harness cannot be started"):
            harness = self._runtime.start(launch, output.writes)
        output.close()
        self._gateway.let_many_in()
        from .. import verify  # noqa: F401 - imported while nothing waits for it

        try:
            while harness.poll() is None and not job.stop.by:
                job.stop.pause(1.0)
                self._runtime.tend()
            if harness.poll() is None:
                job.say(f"{self._why_stopped()}: ending the harness (its samples are kept)")
        finally:  # whatever comes, the lease is not given back while it runs
            if harness.poll() is None:
                self._runtime.stop(harness)
                job.stop.ended(harness, GRACE)
        self._code = exit_code(harness.poll() or 0)
        if self._code not in (0, NOT_STARTED) and not job.stop.by:
            self._killed_by = self._runtime.killed_by(counts, since)
        self._runtime.after()
        output.end(GRACE)

    def _check(self) -> None:
        """No false score."""
        from .. import verify

        job, digest = self._job, self._job.settings.digest
        logs = attempt.logs(job.here, digest)
        changed, is_behind = self._other_model(), self._gateway.is_there
        cause = verify.settle(
            job.work, job.record, self._code, logs, is_behind, changed, self._killed_by
        )
        if cause is None:
            return
        if job.stop.by:
            raise Failed(f"{self._why_stopped()} while the result was checked")
        if self._servers.are_gone():
            job.stop.ask(MOVED)
            raise Failed(self._why_stopped())
        raise Failed(f"{cause}{self._servers.trouble()}")

    def _other_model(self) -> str:
        """Why the answers may be of another model than the one that was there in the beginning.
        Then they are asked again, but for those of an endpoint that says by itself whose they are.
        """
        job, name = self._job, self._job.settings.endpoint_model
        if not self._asked_at:
            return ""
        key = job.settings.key_name or None
        try:
            changed = job.stop.during(lambda: attempt.no_longer_served(self._asked_at, name, key))
        except Stopped:
            raise Failed(f"{self._why_stopped()} while the result was checked") from None
        if changed and not (self._gateway.is_there and _tells_names(job)):
            with _or_failed("the attempt could not be recorded"):
                record.doubt(job.record, job.number)
        return changed

    def _publish(self) -> int:
        """From the mark on nothing may fail, and no signal may come between."""
        job = self._job
        job.stop.ignore()
        if self._is_lost():
            return self._leave()
        try:
            why_not = attempt.publish(job.here, job.settings.digest, job.number)
        except OSError as error:
            why_not = f"{error.strerror}: {error.filename}"
        if why_not:
            return self._end(f"the result could not be published: {why_not}")
        self._hold.release()
        job.say("published", self._where_by_hand())
        return 0

    def _where_by_hand(self) -> str:
        """The result's folder; a start tells it at its end, once for all benchmarks."""
        return "" if os.environ.get("SNAKEVAL_START") else from_here(self._job.paths.artifacts)

    # --- how an attempt ends badly: with a state, a cause in one sentence, nothing running -------

    def _end(self, cause: str) -> int:
        job = self._job
        job.stop.ignore()
        if job.number and self._is_lost():
            return self._leave()
        self._name_reason()
        by = job.stop.by
        state = STATES.get(by, CANCELLED)
        if job.number:  # else the task may be in another one's hands
            try:
                attempt.end(job.here, job.number, state, self._code, cause)
            except OSError:
                job.say("the attempt could not be recorded (is the disk full?)")
        job.say(f"{state}: {cause}")
        if job.number:
            again = "" if os.environ.get("SNAKEVAL_START") else "; start again to continue"
            job.say(f"finished samples are kept{again}; its log:", from_here(job.log))
        self._hold.release()
        if by == SLURM:
            batch.come_back(job)
        if by == MOVED:
            self._again()
        return EXIT_CODES.get(by, TERMINATED)

    def _name_reason(self) -> None:
        """A TERM may be a person's cancel, or the time limit's."""
        stop = self._job.stop
        if stop.by != "TERM" or self._batch_says:
            return
        if batch.is_batch_job():
            state, self._batch_says = batch.ending(self._deadline)
            stop.by = SLURM if state == "interrupted" else stop.by
        # A cloud job is not cancelled by a signal: it may be started again, here or by the
        # controller.
        if stop.by == "TERM" and self._job.settings.runtime == "image":
            stop.by = CLOUD

    def _why_stopped(self) -> str:
        self._name_reason()
        by = self._job.stop.by
        limit = os.environ.get("SNAKEVAL_MAX_WALLTIME", "")
        told = {
            FULL: DISK_FULL,
            MOVED: "the server has gone, or has another address now; continuing with it",
            DEAD: self._servers.why_dead,
            SPENT: f"max_walltime ({limit} s) is used up; raise execution.max_walltime and start "
            "again to continue",
            CLOUD: "the job was ended (its time limit, a preemption, or a stop)",
            LOST: "another start has taken over",
            UNPAID: self._gateway.unpaid,
            BROKEN: f"the gateway has ended ({self._gateway.trouble})",
        }
        return told.get(by) or self._batch_says or self._by_a_signal(by)

    def _by_a_signal(self, name: str) -> str:
        start = os.environ.get("SNAKEVAL_START", "")
        if name == "TERM" and start and cancelled.marked(self._job.here, start):
            return "stopped by `kill`"
        meant = {"INT": " (Ctrl-C)", "HUP": " (the terminal was closed)"}.get(name, "")
        return f"stopped by SIG{name}{meant}"

    def _leave_if_lost(self) -> None:
        if self._is_lost():
            self._job.stop.ask(LOST)
            raise Failed(self._why_stopped())

    def _is_lost(self) -> bool:
        return not self._hold.is_mine()

    def _leave(self) -> int:
        """Another one has taken the task over, and with it the record: not a word into it."""
        lost = "was suspended for so long that another start has taken over"
        self._job.say(f"{lost}; leaving it to that one")
        self._hold.release()
        return 1

    def _again(self) -> NoReturn:
        """The next attempt, in this very process: it waits for the server, and reads its address
        anew."""
        job = self._job
        job.stop.let_go()
        os.execvpe("bash", ["bash", str(job.script), *self._words], job.begun_with)


def _tells_names(job: Job) -> bool:
    """Whether this attempt's endpoint has refused a model by its name, or named another one in an
    answer: others repeat whatever name they are asked for."""
    from ..gateway.ledger import LEDGER, MODEL, rows

    return any(
        row.get("status") == 404 or row.get("named")
        for row in rows(job.record / LEDGER)
        if row.get("attempt") == job.number and row.get("endpoint") == MODEL
    )


@contextlib.contextmanager
def _or_failed(what: str):  # type: ignore[no-untyped-def]
    """An OSError is the failure of the attempt."""
    try:
        yield
    except OSError as error:
        said = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        raise Failed(f"{what}: {said}") from error


def main() -> NoReturn:
    """`keeper.py RUN_SH [DIGEST [TRY]]`, or `keeper.py RUN_SH harness`."""
    for _ in range(3):  # where one of the three was closed, a pipe of ours must not be it
        if (found := os.open(os.devnull, os.O_RDWR)) > 2:
            os.close(found)
            break
    script = Path(os.path.realpath(os.path.dirname(sys.argv[1]) or "."), "run.sh")
    words = sys.argv[2:]
    try:
        settings, texts = read(script)
    except (OSError, ValueError, TypeError) as error:
        print(f"{script} cannot be read ({error}): run snakemake again: it renews the script")
        _leave(1)
    if settings.umask:
        os.umask(int(settings.umask, 8))
    # As the script was started: Python may have set a variable of its own (LC_CTYPE).
    given = begun_with(os.getpid())
    environment = {os.fsdecode(name): os.fsdecode(given[name]) for name in given}
    job = Job(script, settings, texts, environment)
    if words[:1] == [BY_HAND]:
        from .by_hand import run

        code = run(job)
    else:
        code = Keeper(job, words).run()
    _leave(code)


def _leave(code: int) -> NoReturn:
    """At once: no thread is waited for, and whatever one still holds is nobody's."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):  # closed, or none
            stream.flush()
    os._exit(code)
