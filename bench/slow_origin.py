"""An origin that pauses before each answer: `python -m bench.slow_origin PORT SECONDS`."""

import asyncio
import sys
from functools import partial

BODY = bytes(1024)
ANSWER = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY


async def _serve(
    pause_seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(pause_seconds)
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _listen(port: int, pause_seconds: float) -> None:
    serve = partial(_serve, pause_seconds)
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_listen(int(sys.argv[1]), float(sys.argv[2])))
