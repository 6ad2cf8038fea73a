"""One task of a server on several nodes: says who it is, and meets the others at the head.

    one_of_several.py FOLDER COMMAND...

Task 0 of an instance listens at the address that all of them take for their head's, and becomes the
command when the others have come; the others stay until they are ended.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

PORT = 29555
NAMES = ("PROC_ID", "INSTANCE_ID", "MASTER_IP", "NODE_IP", "ALL_NODE_IPS", "NODES_PER_INSTANCE")


def main() -> None:
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    folder.mkdir(exist_ok=True)
    me = {name: os.environ.get(name) for name in NAMES} | {"host": socket.gethostname()}
    head = (os.environ["MASTER_IP"], PORT)
    if os.environ["PROC_ID"] == "0":
        me["met"] = sorted(met(head, int(os.environ["SLURM_NTASKS"]) - 1))
    else:
        me["reached"] = reached(head)
    name = f"{me['INSTANCE_ID']}.{me['PROC_ID']}"
    (folder / f"{name}.json").write_text(json.dumps(me))
    if os.environ["PROC_ID"] != "0":
        signal.pause()
    log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execvp(command[0], command)


def met(head: tuple[str, int], others: int) -> list[str]:
    """The addresses of those that came. Binding proves that the head's address is this node's."""
    with socket.create_server(head) as listening:
        return [listening.accept()[1][0] for _ in range(others)]


def reached(head: tuple[str, int]) -> bool:
    while True:
        try:
            socket.create_connection(head, 5).close()
            return True
        except OSError:
            time.sleep(0.2)


if __name__ == "__main__":
    main()
