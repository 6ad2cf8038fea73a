"""TLS before a plain server, with a certificate authority that nobody else knows."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Self

import trustme


class TlsFront:
    """Takes TLS connections for 127.0.0.1 and localhost and hands them to a port of this machine.

    authority: file with the certificate authority to trust.
    """

    def __init__(self, port: int, folder: Path) -> None:
        own = trustme.CA()
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = folder / "own-ca.pem"
        own.cert_pem.write_to_path(str(self.authority))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own.issue_cert("127.0.0.1", "localhost").configure_cert(self._context)
        self._behind = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that does not trust us leaves in the middle of the handshake.
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(connection, server_side=True) as front,
            socket.create_connection(("127.0.0.1", self._behind)) as behind,
        ):
            back = threading.Thread(target=_pump, args=(behind, front), daemon=True)
            back.start()
            _pump(front, behind)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
