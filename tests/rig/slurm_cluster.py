"""A real Slurm on one machine: a controller and two nodes with addresses and names of their own.

Every daemon is Debian's, started by hand from the rig's folder with its own munge key, ports and
sockets, so that nothing of the machine's own Slurm, munge or MariaDB is touched. A node is a
network, host name and mount namespace: processes there have the node's address and name, see the
machine's files (as on a cluster) but not `login_only`, and do not reach the internet. All nodes are
one kernel: what this cannot show is whether file locks work between hosts.

`python -m tests.rig.slurm_cluster up` starts one that stays and prints its SLURM_CONF; `down` ends
it.
"""

import argparse
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from .docker_engine import RigUnavailable, locked, rig_dir
from .waiting import PATIENCE, wait_until

NODES = ("m1", "m2")
CPUS = 4
ACCOUNT = "tests"
_PACKAGES = {
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "munged": "munge",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "iptables": "iptables",
}
_PACKAGES_OF_ACCOUNTING = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}
_MYSQL_PLUGIN = "accounting_storage_mysql.so"
# KillWait (from TERM to KILL) is 30 s on most clusters; here it holds us to our 20 s. MinJobAge
# keeps ended jobs in squeue. A requeued job waits until its credential has expired, which is two
# minutes on clusters.
_CONF = """\
ClusterName=rig
SlurmctldHost={controller}({address})
SlurmctldPort={port}
SlurmdPort={slurmd_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=2
JobAcctGatherType={gather}
JobRequeue=1
KillWait=20
MinJobAge=300
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
{accounting}
NodeName=m1 NodeAddr={subnet}.11 NodeHostname=m1 CPUs={cpus} RealMemory=8000 State=UNKNOWN
NodeName=m2 NodeAddr={subnet}.12 NodeHostname=m2 CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=batch Nodes=ALL Default=YES PriorityTier=1 MaxTime=7-0 State=UP
PartitionName=cpu Nodes=ALL PriorityTier=1 MaxTime=7-0 State=UP
PartitionName=spot Nodes=ALL PriorityTier=1 PreemptMode=CANCEL GraceTime=2 MaxTime=7-0 State=UP
PartitionName=hidden Nodes=ALL PriorityTier=1 Hidden=YES MaxTime=7-0 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=7-0 State=UP
"""
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations,limits,qos"""
_SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mysql}
StorageUser=slurm
StoragePass=rig
StorageLoc=slurm
"""


class SlurmCluster:
    """A running cluster; a context manager from start to end.

    accounting: with slurmdbd and MariaDB (`sacct` answers); without, only `squeue` does.
    """

    def __init__(self, accounting: bool = True) -> None:
        self.accounting = accounting
        self.folder = rig_dir() / f"slurm-{'acct' if accounting else 'bare'}"
        # Two rig folders on one machine have clusters of their own.
        place = zlib.crc32(str(rig_dir()).encode()) % 100
        self.name = f"{place}{'a' if accounting else 'b'}"
        self.subnet = f"10.{100 + place}.{0 if accounting else 1}"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """The controller's address, which nodes and containers reach."""
        return f"{self.subnet}.1"

    @property
    def login_only(self) -> Path:
        """A folder that this machine sees and the nodes do not."""
        return self.folder / "login-only"

    @property
    def shared(self) -> Path:
        """A folder in which the nodes see what this machine mounts, even later."""
        return self.folder / "shared"

    @property
    def stays(self) -> Path:
        """Exists where `up` has started the cluster: sessions use it and leave it running."""
        return self.folder / "stays"

    @property
    def environment(self) -> dict[str, str]:
        """What commands such as sbatch need to find this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def __enter__(self) -> "SlurmCluster":
        _check_that_it_can_start(self.accounting)
        self._sweep()
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("state", "login-only", "shared", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        for words in (["--bind", self.shared], ["--make-shared"]):
            subprocess.run(["mount", *words, self.shared], check=True)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- asking it -------------------------------------------------------------------------------

    def run(self, *command: str, timeout: float = 60) -> str:
        """Standard output of a Slurm command, stripped; `RigUnavailable` when it fails."""
        done = subprocess.run(
            command,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing"]
            raise RigUnavailable(f"{' '.join(command[:3])}: {said[0]}")
        return done.stdout.strip()

    def jobs(self, *states: str) -> dict[str, str]:
        """Live jobs (or those in these states): id -> state."""
        chosen = ["--states=" + ",".join(states)] if states else []
        lines = self.run("squeue", "--noheader", "--format=%i %T", *chosen).splitlines()
        return dict(line.split() for line in lines)

    def wait(self, condition: Callable[[], object], timeout: float = PATIENCE) -> None:
        wait_until(condition, seconds=timeout, every=0.2, told=lambda: f"jobs: {self.jobs()}")

    @contextlib.contextmanager
    def hung(self, daemon: str) -> Iterator[Callable[[], None]]:
        """`slurmctld` or `slurmdbd` takes connections meanwhile, and answers nobody; until it is
        told to go on."""
        pid = self.pid_of(daemon)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield lambda: os.kill(pid, signal.SIGCONT)
        finally:
            os.kill(pid, signal.SIGCONT)

    def pid_of(self, daemon: str) -> int:
        return int((self.folder / f"{daemon}.pid").read_text())

    def give_back_nodes(self) -> None:
        """Ends what `state=down` has begun; a node may have come back by itself."""
        for node in NODES:
            with contextlib.suppress(RigUnavailable):
                self.run("scontrol", "update", f"node={node}", "state=resume")

    def clear(self) -> None:
        """Ends every job, and gives the nodes back to work."""
        self.give_back_nodes()
        for _ in range(3):
            ids = list(self.jobs())
            if not ids:
                return
            with contextlib.suppress(RigUnavailable):
                self.run("scancel", *ids)
            with contextlib.suppress(TimeoutError):
                self.wait(lambda: not self.jobs(), 40)
                return

    # --- starting and stopping -------------------------------------------------------------------

    def _start(self) -> None:
        self._make_network()
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o400)
        self._launch(
            "munged",
            *("--foreground", "--force", f"--socket={self.folder}/munge.socket"),
            *(f"--key-file={self.folder}/munge.key", f"--log-file={self.folder}/munged.log"),
            *(f"--pid-file={self.folder}/munged.pid", f"--seed-file={self.folder}/munge.seed"),
        )
        self._wait_for(lambda: (self.folder / "munge.socket").exists(), "munged")
        dbd_port = _free_port()
        host = socket.gethostname().partition(".")[0]
        conf = _CONF.format(
            controller=host,
            address=self.address,
            port=_free_port(),
            slurmd_port=_free_port(),
            folder=self.folder,
            subnet=self.subnet,
            cpus=CPUS,
            gather="jobacct_gather/linux" if self.accounting else "jobacct_gather/none",
            accounting=_ACCOUNTING.format(port=dbd_port, folder=self.folder)
            if self.accounting
            else "",
        )
        (self.folder / "slurm.conf").write_text(conf)
        hosts = [f"{self.address} {host}", "127.0.0.1 localhost"]
        hosts += [f"{self.subnet}.{11 + number} {node}" for number, node in enumerate(NODES)]
        (self.folder / "hosts").write_text("\n".join(hosts) + "\n")
        # Nodes have no way out: a name that is not in hosts is refused at once.
        (self.folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        if self.accounting:
            self._start_accounting(dbd_port)
        self._start_controller()
        for node in NODES:
            self._start_node(node)
        self._wait_for(self._all_idle, "slurmctld", "slurmd-m1", "slurmd-m2")

    def _start_controller(self) -> None:
        self._launch("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))

    def _start_node(self, node: str) -> None:
        # unshare keeps the process: a name and a view of the files of its own.
        inside = (
            f"hostname {node} && mount --bind {self.folder}/hosts /etc/hosts && "
            f"mount --bind {self.folder}/resolv.conf /etc/resolv.conf && "
            f"mount -t tmpfs none {self.login_only} && "
            f"exec slurmd -D -N {node} -f {self.folder}/slurm.conf"
        )
        self._launch(
            *("nsenter", f"--net=/run/netns/{self._namespace(node)}", "unshare"),
            *("--uts", "--mount", "--propagation", "slave", "sh", "-c", inside),
        )

    def living(self, *daemons: str) -> list[str]:
        """Those of `slurmctld`, `slurmdbd`, `slurmd-m1`, ... that run."""
        found = []
        for daemon in daemons:
            with contextlib.suppress(psutil.Error, OSError, ValueError):
                if psutil.Process(self.pid_of(daemon)).status() != psutil.STATUS_ZOMBIE:
                    found.append(daemon)
        return found

    def kill(self, daemon: str) -> Callable[[], None]:
        """Kills `slurmctld`, `slurmdbd` or a node's `slurmd-m1`; what is returned starts it again.
        Jobs live on meanwhile, as they do on a cluster."""
        os.kill(self.pid_of(daemon), signal.SIGKILL)
        if daemon == "slurmctld":
            return self._start_controller
        if daemon == "slurmdbd":
            return lambda: self._launch("slurmdbd", "-D")
        return lambda: self._start_node(daemon.removeprefix("slurmd-"))

    def _start_accounting(self, port: int) -> None:
        mysql, data = _free_port(), self.folder / "mysql"
        made = subprocess.run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
            ],
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise RigUnavailable(f"mariadb-install-db: {made.stderr.strip().splitlines()[-1:]}")
        self._launch(
            *("mariadbd", "--no-defaults", "--user=root", f"--datadir={data}"),
            *(f"--socket={self.folder}/mysql.socket", f"--port={mysql}"),
            *("--bind-address=127.0.0.1", f"--pid-file={self.folder}/mysql.pid"),
            *("--innodb-flush-log-at-trx-commit=0", f"--log-error={self.folder}/mysql.log"),
        )
        setup = (
            "CREATE DATABASE slurm; CREATE USER slurm@127.0.0.1 IDENTIFIED BY 'rig'; "
            "CREATE USER slurm@localhost IDENTIFIED BY 'rig'; "
            "GRANT ALL ON slurm.* TO slurm@127.0.0.1; GRANT ALL ON slurm.* TO slurm@localhost;"
        )
        client = ["mariadb", "--no-defaults", f"--socket={self.folder}/mysql.socket", "-e", setup]
        self._wait_for(lambda: subprocess.run(client, capture_output=True).returncode == 0, "mysql")
        conf = self.folder / "slurmdbd.conf"
        conf.write_text(_SLURMDBD.format(folder=self.folder, port=port, mysql=mysql))
        conf.chmod(0o600)
        self._launch("slurmdbd", "-D")
        user = pwd.getpwuid(os.geteuid()).pw_name
        for words in (
            ["cluster", "rig"],
            ["account", ACCOUNT],
            ["user", user, f"account={ACCOUNT}", f"defaultaccount={ACCOUNT}"],
        ):
            self._wait_for(lambda words=words: self._added(words), "slurmdbd")  # type: ignore[misc]

    def _added(self, words: list[str]) -> bool:
        with contextlib.suppress(RigUnavailable):
            self.run("sacctmgr", "--immediate", "add", *words)
            return True
        with contextlib.suppress(RigUnavailable):
            return words[1] in self.run("sacctmgr", "--noheader", "list", words[0])
        return False

    def _all_idle(self) -> bool:
        with contextlib.suppress(RigUnavailable):
            nodes = self.run("sinfo", "--noheader", "--Node", "--partition=batch", "--format=%T")
            return nodes.split() == ["idle"] * len(NODES)
        return False

    def _launch(self, *command: str) -> None:
        name = next(word for word in command if word not in ("nsenter",)).lstrip("-")
        with (self.folder / f"{Path(name).name[:20].replace('=', '-')}.out").open("ab") as output:
            process = subprocess.Popen(
                command,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._processes.append(process)
        self._record()

    def _record(self) -> None:
        """For the next session, should this one be killed: number and time of every daemon."""
        born = {}
        with contextlib.suppress(OSError, ValueError):  # those of `up`, which another session uses
            born = json.loads((self.folder / "pids.json").read_text())
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                born[str(process.pid)] = psutil.Process(process.pid).create_time()
        (self.folder / "pids.json").write_text(json.dumps(born))

    def _wait_for(self, condition: Callable[[], bool], *logs: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            dead = [process for process in self._processes if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                said = [_last_line(self.folder / f"{name}.log") for name in logs]
                raise RigUnavailable(f"Slurm does not start: {'; '.join(filter(None, said))}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends everything; safe to call twice."""
        with contextlib.suppress(RigUnavailable, subprocess.TimeoutExpired, OSError):
            self.clear()
        self._sweep()
        self._processes.clear()

    def _sweep(self) -> None:
        """Ends the daemons, what runs on the nodes, and the network; also a dead session's."""
        found = []
        with contextlib.suppress(OSError, ValueError):
            for pid, born in json.loads((self.folder / "pids.json").read_text()).items():
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(int(pid))
                    if abs(process.create_time() - born) < 2:
                        found.append(process)
        for process in reversed(found):  # the database last
            with contextlib.suppress(psutil.Error):
                process.terminate()
                try:
                    process.wait(15)
                except psutil.TimeoutExpired:
                    process.kill()
        for started in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(5)
        (self.folder / "pids.json").unlink(missing_ok=True)
        # A folder that is mounted on itself is no mount to Path.is_mount.
        subprocess.run(["umount", "--lazy", self.shared], capture_output=True, check=False)
        for node in NODES:
            pids = _ip("netns", "pids", self._namespace(node)).split()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "delete", self._namespace(node))
        for link in (*(f"{self._bridge}-{number}" for number in range(len(NODES))), self._bridge):
            _ip("link", "delete", link)
        _iptables("--delete", self._bridge)

    # --- the network -----------------------------------------------------------------------------

    @property
    def _bridge(self) -> str:
        return f"slurm-{self.name}"

    def _namespace(self, node: str) -> str:
        return f"slurm-{self.name}-{node}"

    def _make_network(self) -> None:
        commands = [
            f"link add {self._bridge} type bridge",
            f"address add {self.address}/24 dev {self._bridge}",
            f"link set {self._bridge} up",
        ]
        for number, node in enumerate(NODES):
            namespace, link = self._namespace(node), f"{self._bridge}-{number}"
            commands += [
                f"netns add {namespace}",
                f"link add {link} type veth peer name eth0 netns {namespace}",
                f"link set {link} master {self._bridge} up",
                f"-n {namespace} address add {self.subnet}.{11 + number}/24 dev eth0",
                f"-n {namespace} link set eth0 up",
                f"-n {namespace} link set lo up",
                f"-n {namespace} route add default via {self.address}",
            ]
        for command in commands:
            done = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
            if done.returncode != 0:
                raise RigUnavailable(f"ip {command}: {done.stderr.strip()}")
        # Docker's rules drop what is forwarded between interfaces it does not know.
        _iptables("--insert", self._bridge)


def _check_that_it_can_start(accounting: bool) -> None:
    if os.geteuid() != 0:
        raise RigUnavailable("only root can start a Slurm with nodes of its own")
    wanted = _PACKAGES | (_PACKAGES_OF_ACCOUNTING if accounting else {})
    for program, package in wanted.items():
        if shutil.which(program) is None:
            raise RigUnavailable(f"{program} is missing (Debian: apt-get install {package})")
    if accounting and not list(Path("/usr/lib").glob(f"*/slurm-wlm/{_MYSQL_PLUGIN}")):
        raise RigUnavailable(
            f"{_MYSQL_PLUGIN} is missing (Debian: apt-get install slurm-wlm-mysql-plugin)"
        )


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True).stdout


def _iptables(action: str, bridge: str) -> None:
    rule = ["-i", bridge, "-o", bridge, "-j", "ACCEPT"]
    subprocess.run(["iptables", action, "FORWARD", *rule], capture_output=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        return f"{log.name}: {lines[-1]}" if lines else ""
    return ""


@contextlib.contextmanager
def slurm_for_session(accounting: bool = True) -> Iterator[SlurmCluster]:
    """A cluster for one test session: the one of `up`, else one of its own.

    A second session on this machine waits for its turn.
    """
    cluster = SlurmCluster(accounting)
    if cluster.stays.exists() and cluster._all_idle():
        yield cluster
        return
    with locked(cluster.folder.name), cluster:
        yield cluster


def main() -> None:
    parser = argparse.ArgumentParser(description="The tests' own Slurm.")
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("--no-accounting", action="store_true")
    arguments = parser.parse_args()
    cluster = SlurmCluster(not arguments.no_accounting)
    try:
        if arguments.action == "down":
            cluster.stop()
        else:
            cluster.__enter__()
            cluster.stays.touch()
            print(cluster.environment["SLURM_CONF"])
    except RigUnavailable as reason:
        raise SystemExit(f"slurm: {reason}") from None


if __name__ == "__main__":
    main()
