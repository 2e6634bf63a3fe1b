"""What the page's server refuses: names, paths, methods, malformed requests; and it lives on."""

import random
from pathlib import Path

import pytest
import trio
import trio.testing

from node.web import guard
from tests.node.web.wire import served


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8420", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("[::1]:8420", True),
        ("192.168.7.7:8420", True),
        ("board.example:8420", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example:8420@127.0.0.1", False),
        ("127.0.0.1, evil.example", False),
        ("", False),
        ("[::1", False),
        ("::1", False),
    ],
)
async def test_a_name_made_to_resolve_here_is_refused(
    tmp_path: Path, host: str, allowed: bool
) -> None:
    async with served(tmp_path) as page:
        answer = await page.get("/api/v1/state", host=host)
        assert answer.startswith(b"HTTP/1.1 200") == allowed
        assert allowed or b"bytes-gpt" not in answer


async def test_two_host_fields_or_none_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as page:
        two = await page.get("/", "Host: localhost")
        assert two.startswith((b"HTTP/1.1 400", b"HTTP/1.1 421"))
        assert (await page.send(b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 421")


@pytest.mark.parametrize(
    "target",
    [
        "/../identity.pem",
        "/..%2f..%2fidentity.pem",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/vendor/../../routes.py",
        "//etc/passwd",
        "/style.css/",
        "/vendor",
        "/%00",
        "/index.html%00.css",
        "/C:%5Cwindows",
        "/__init__.py",
    ],
)
async def test_nothing_but_the_page_can_be_asked_for(tmp_path: Path, target: str) -> None:
    async with served(tmp_path) as page:
        assert (await page.get(target)).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
async def test_only_reading_is_served(tmp_path: Path, method: str) -> None:
    async with served(tmp_path) as page:
        answer = await page.send(
            f"{method} /api/v1/state HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 405")
        assert b"Allow: GET, HEAD" in answer


UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AA==\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n\r\n",
        b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x07" * 400,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n",
        b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /?" + b"a=1&" * 50 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE + b"Origin: x\r\n\r\n\xff\xff",
    ],
)  # fmt: skip
async def test_malformed_requests_are_refused_and_the_node_lives_on(
    tmp_path: Path, data: bytes
) -> None:
    async with served(tmp_path) as page:
        stream = await page.connect()
        async with stream:
            await stream.send_all(data)
            await stream.send_eof()
            answer = b""
            try:
                async for chunk in stream:
                    answer += chunk
            except trio.BrokenResourceError:
                pass
        assert not answer or answer.split()[1].startswith(b"4"), answer[:100]
        assert b"101" not in answer[:12]
        assert await page.alive()


async def test_random_bytes_end_nothing(tmp_path: Path) -> None:
    rng = random.Random(7)
    async with served(tmp_path) as page:
        for _ in range(150):
            start = rng.choice(
                [b"", b"GET / HTTP/1.1\r\n", b"GET /api/v1/events HTTP/1.1\r\nHost: "]
            )
            stream = await page.connect()
            async with stream:
                try:
                    await stream.send_all(start + rng.randbytes(rng.randrange(300)) + b"\r\n\r\n")
                    await stream.send_eof()
                    await stream.receive_some()
                except trio.BrokenResourceError:
                    continue
        assert await page.alive()


async def test_every_answer_tells_the_browser_to_refuse_everything_else(tmp_path: Path) -> None:
    async with served(tmp_path) as page:
        for answer in (await page.get("/"), await page.get("/none"), await page.send(b"x\r\n\r\n")):
            head = answer.partition(b"\r\n\r\n")[0].decode()
            for name, value in guard.SECURITY_HEADERS:
                assert f"{name}: {value}".lower() in head.lower(), answer[:60]
            assert "access-control" not in head.lower()
            assert "default-src 'none'" in head
