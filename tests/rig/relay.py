"""A model server of one file: hands every connection on to an endpoint that counts.

`relay.py --port PORT --to HOST:PORT`. So a server can be killed, and the count goes on.
"""

import argparse
import asyncio
import contextlib


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def serve(port: int, host: str, behind: int) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, asked = await asyncio.open_connection(host, behind)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, asked), copy(answers, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--to", required=True)
    options = parser.parse_args()
    host, _, port = options.to.rpartition(":")
    asyncio.run(serve(options.port, host, int(port)))


if __name__ == "__main__":
    main()
