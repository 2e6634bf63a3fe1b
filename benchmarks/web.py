"""The leaderboard at size: first view, scrolling, a merge's way to the page, 200 followers.

The browser's figures need Chromium and Playwright (`make test-web` installs both); without them
they are left out, and the line that says so is the only sign.
"""

import argparse
import contextlib
import http.client
import json
import re
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from benchmarks.report import Figure, figure, line, write

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
FOLLOWERS = 200


class Server:
    """The served swarm."""

    def __init__(self, hypotheses: int, peers: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.web_server", str(hypotheses), str(peers)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.port = urlsplit(self.url).port
        while self.get("/healthz")[0] != 200:
            time.sleep(0.2)

    def tell(self, word: str) -> str:
        """Give the server a word and return what it answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def get(self, path: str) -> tuple[int, bytes, float]:
        """Status, packed body and seconds of one request."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body, time.perf_counter() - began


@contextlib.contextmanager
def served(hypotheses: int, peers: int) -> Iterator[Server]:
    server = Server(hypotheses, peers)
    try:
        yield server
    finally:
        assert server.process.stdin is not None
        server.process.stdin.close()
        try:
            server.process.wait(30)
        except subprocess.TimeoutExpired:
            # On a machine this busy the figures are worth more than an orderly end.
            server.process.kill()
            server.process.wait()


def api_figures(server: Server) -> list[Figure]:
    figures = []
    for name in ("state", "points", "lineage", "hypotheses?limit=100"):
        cold = server.get(f"/api/v1/{name}")
        warm = min(server.get(f"/api/v1/{name}")[2] for _ in range(5))
        figures += [
            figure(f"GET {name}, packed", len(cold[1]) / 1024, "KiB"),
            figure(f"GET {name}, first", cold[2], "s"),
            figure(f"GET {name}, again", warm, "s"),
        ]
    return figures


def follower_figures(server: Server) -> list[Figure]:
    """Followers of the events: memory, and how long a change takes to the last of them."""
    before_mb = float(server.tell("memory"))
    cursor = json.loads(gunzip(server.get("/api/v1/state")[1]))["cursor"]
    watch = selectors.DefaultSelector()
    clients = []
    request = f"GET /api/v1/events?after={cursor} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for _ in range(FOLLOWERS):
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(request)
        client.setblocking(False)
        watch.register(client, selectors.EVENT_READ, bytearray())
        clients.append(client)
    wait_for(watch, clients, b"retry: ")
    delays = []
    for _ in range(5):
        server.tell("try")
        began = time.perf_counter()
        delays += [at - began for at in wait_for(watch, clients, b"event: change")]
    during_mb = float(server.tell("memory"))
    for client in clients:
        client.close()
    delays.sort()
    return [
        figure(f"change to {FOLLOWERS} followers, median", statistics.median(delays), "s"),
        figure(f"change to {FOLLOWERS} followers, last", delays[-1], "s", at_most=2.0),
        figure("server's memory before", before_mb, "MB"),
        figure(f"server's memory with {FOLLOWERS} followers", during_mb, "MB", at_most=300),
    ]


def wait_for(
    watch: selectors.DefaultSelector, clients: list[socket.socket], wanted: bytes
) -> list[float]:
    """Read until every client has got the wanted bytes; when each of them did."""
    missing = set(clients)
    times = []
    deadline = time.perf_counter() + 30
    while missing and time.perf_counter() < deadline:
        for key, _ in watch.select(1):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            key.data.extend(client.recv(1 << 20))
            if client in missing and wanted in key.data:
                missing.discard(client)
                times.append(time.perf_counter())
                key.data.clear()
    if missing:
        raise RuntimeError(f"{len(missing)} followers heard nothing")
    return times


def gunzip(body: bytes) -> bytes:
    import gzip

    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


FRAMES = """async (way) => {
  const times = [];
  let last = performance.now();
  for (let step = 0; step < 120; step++) {
    await new Promise((done) => requestAnimationFrame(done));
    const now = performance.now();
    times.push(now - last);
    last = now;
    if (way === 'scroll') window.scrollBy(0, step < 60 ? 40 : -40);
  }
  return times.sort((a, b) => a - b)[Math.floor(0.95 * times.length)];
}"""


def browser_figures(server: Server) -> list[Figure]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("no Playwright here: the browser's figures are left out", file=sys.stderr)
        return []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        page: Any = chromium.new_page(viewport={"width": 1440, "height": 900})
        began = time.perf_counter()
        page.goto(server.url, wait_until="commit")
        page.locator("#head-value", has_text=re.compile(r"\d")).wait_for()
        head_s = time.perf_counter() - began
        page.wait_for_selector("#records tbody tr td a")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(done))")
        view_s = time.perf_counter() - began
        page.wait_for_timeout(1000)
        idle_ms = page.evaluate(FRAMES, "idle")
        scroll_ms = page.evaluate(FRAMES, "scroll")
        began = time.perf_counter()
        value = server.tell("try")
        page.locator("#head-value", has_text=value).wait_for()
        merge_s = time.perf_counter() - began
        chromium.close()
    return [
        figure("page: head's value shown", head_s, "s", at_most=2.0),
        figure("page: everything shown", view_s, "s", at_most=2.0),
        figure("page: a merge shown", merge_s, "s", at_most=2.0),
        figure("page: 95 % of frames while scrolling", scroll_ms, "ms", at_most=34, limit=idle_ms),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hypotheses", type=int, default=10_000)
    parser.add_argument("--peers", type=int, default=200)
    options = parser.parse_args()
    figures: list[Figure] = []
    with served(options.hypotheses, options.peers) as server:
        lineage = json.loads(gunzip(server.get("/api/v1/lineage")[1]))["entries"]
        figures.append(figure("entries in the lineage", len(lineage), ""))
        for measure in (api_figures, browser_figures, follower_figures):
            figures += measure(server)
    for item in figures:
        print(line(item))
    write("web", figures)


if __name__ == "__main__":
    main()
