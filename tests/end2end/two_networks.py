"""Answers as the proxy of an office and as a site, in the network namespace of a test.

Port 8080 is the proxy, which answers requests for any site itself; port 8000 is the site. The text
of each response says which of them has answered.
"""

import asyncio
from functools import partial

PROXY_PORT, SITE_PORT = 8080, 8000
ANSWERS = {PROXY_PORT: b"by the proxy", SITE_PORT: b"by the site"}


async def answer(text: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text)
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head + text)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    for port, text in ANSWERS.items():
        await asyncio.start_server(partial(answer, text), "0.0.0.0", port)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
