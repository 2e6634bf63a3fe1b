"""The pages of a live test: what is served to whom, what counts, what a stranger's text can do."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest
import trio
from click.testing import CliRunner

from node.cli.main import cli
from node.errors import UsageError
from node.live.arms import arms_of_task
from node.live.counts import Counts
from node.live.site import HEADERS, LiveSite
from node.live.template import fill_page, fill_text, read_values
from node.web.http import Request, Response, serve_http
from protocol.sources import split_files
from tests.trainer.landing import DIRECTORY, SOURCE, changed
from trainer.task import built_in_directory

if TYPE_CHECKING:
    from pathlib import Path


EVIL = '<script>alert(1)</script>" onclick="x {{page.button}}'


class Clock:
    def __init__(self) -> None:
        self.ms = 0

    def __call__(self) -> int:
        return self.ms


def write_version(directory: Path, source: str) -> Path:
    directory.mkdir()
    for name, text in split_files(source).items():
        (directory / name).write_text(text)
    return directory


class Visited:
    """A site with two arms, one of them hostile, and a browser's ways to ask it."""

    def __init__(self, tmp_path: Path) -> None:
        escaped = EVIL.replace('"', '\\"')
        source = changed('headline = "Welcome to Almond"', f'headline = "{escaped}"')
        version = write_version(tmp_path / "evil", source)
        self.subject = arms_of_task(DIRECTORY, [("evil", version)])
        self.clock = Clock()
        self.counts = Counts(tmp_path / "c.sqlite", self.subject.digests, patience_ms=1)
        self.site = LiveSite(
            self.subject.task,
            self.subject.live,
            self.subject.sources,
            self.counts,
            self.clock,
            random.Random(1),
            frozenset({"almond.example"}),
        )

    async def ask(self, path: str = "/", method: str = "GET", **headers: str) -> Response:
        path, _, query = path.partition("?")
        fields = dict(part.split("=") for part in query.split("&") if part)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        agent = {"user-agent": "Mozilla/5.0"}
        host = (named.pop("host", "127.0.0.1:8430"),)
        return await self.site.answer(Request(method, path, fields, {**agent, **named}, host))

    @property
    def visits(self) -> int:
        self.clock.ms += 10
        return sum(arm.visits for arm in self.counts.report(self.clock.ms))

    @property
    def responses(self) -> int:
        self.clock.ms += 10
        return sum(arm.responses for arm in self.counts.report(self.clock.ms))


@pytest.fixture
def visited(tmp_path: Path) -> Visited:
    return Visited(tmp_path)


def token_of(page: Response) -> str:
    found = re.search(rb'action="/yes/([0-9a-f]{32}|none)"', page.body)
    assert found is not None
    return found[1].decode()


async def test_a_visitor_keeps_its_variant_and_counts_once(visited: Visited) -> None:
    page = await visited.ask()
    cookie = dict(page.headers)["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert token_of(page) in cookie
    again = await visited.ask(cookie=f"other=1; {cookie.partition(';')[0]}")
    linked = await visited.ask(f"/?visit={token_of(page)}")
    assert again.body == linked.body == page.body
    assert visited.visits == 1
    for _ in range(2):
        assert (await visited.ask(f"/yes/{token_of(page)}", "POST")).status == 200
    assert visited.responses == 1


async def test_looking_is_not_answering_and_robots_do_not_count(visited: Visited) -> None:
    token = token_of(await visited.ask())
    assert (await visited.ask(f"/yes/{token}")).status == 404
    assert visited.responses == 0
    for headers in (
        {"user_agent": "SearchBot/1.0"},
        {"user_agent": ""},
        {"sec_purpose": "prefetch"},
    ):
        page = await visited.ask(**headers)
        assert token_of(page) == "none"
        assert b"Welcome to Almond" in page.body
    assert (await visited.ask("/yes/none", "POST")).status == 200
    assert (await visited.ask("/yes/" + "0" * 32, "POST")).status == 404
    assert (await visited.ask("/yes/x", "POST")).status == 404
    assert (
        (await visited.ask("/judge.py")).status == (await visited.ask("/task.toml")).status == 404
    )
    assert (await visited.ask("/style.css")).content_type.startswith("text/css")
    assert (visited.visits, visited.responses) == (1, 0)


async def test_a_flood_is_served_but_not_counted(visited: Visited) -> None:
    pages = [await visited.ask() for _ in range(300)]
    assert sum(token_of(page) != "none" for page in pages) == 200
    assert all(page.status == 200 for page in pages)
    visited.clock.ms += 1_000
    assert token_of(await visited.ask()) != "none"


async def test_only_names_that_people_were_told_are_served(visited: Visited) -> None:
    assert (await visited.ask(host="evil.example")).status == 403
    assert (await visited.ask(host="almond.example")).status == 200


async def test_a_strangers_words_are_words(visited: Visited) -> None:
    bodies = {(await visited.ask()).body for _ in range(40)}
    evil = [body for body in bodies if b"alert" in body]
    assert evil
    for body in evil:
        assert b"<script>" not in body
        assert b'" onclick' not in body
        # It is no template either: what it names is not filled in.
        assert b"{{page.button}}" in body


async def test_an_email_leads_to_the_variant_that_it_announces(visited: Visited) -> None:
    letter = visited.site.email("https://almond.example/", "Ana\nBcc: all@example.org")
    head, _, body = letter.partition("\n\n")
    assert [line.partition(":")[0] for line in head.split("\n")] == ["From", "Subject"]
    assert "<!--" not in body
    assert "\n\n\n" not in body
    found = re.search(r"https://almond\.example/\?visit=([0-9a-f]{32})\n", body)
    assert found is not None
    assert token_of(await visited.ask(f"/?visit={found[1]}")) == found[1]
    assert visited.visits == 1


async def test_over_the_wire_a_form_is_sent_without_a_body(visited: Visited) -> None:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(
            serve_http, listener, visited.site.answer, HEADERS, ("GET", "HEAD", "POST")
        )

        async def say(text: str) -> bytes:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                fields = f"Host: 127.0.0.1:{port}\r\nUser-Agent: M\r\nConnection: close\r\n"
                await stream.send_all(text.replace("\n", "\r\n").format(fields).encode())
                answer = b""
                async for piece in stream:
                    answer += piece
            return answer

        page = await say("GET / HTTP/1.1\n{}\n")
        assert b"form-action 'self'" in page
        token = re.search(rb"/yes/([0-9a-f]{32})", page)
        assert token is not None
        path = f"/yes/{token[1].decode()}"
        assert b"Thank you" in await say(f"POST {path} HTTP/1.1\n{{}}Content-Length: 0\n\n")
        refused = await say(f"POST {path} HTTP/1.1\n{{}}Content-Length: 3\n\nabc")
        assert refused.startswith(b"HTTP/1.1 400")
        assert (await say("PUT / HTTP/1.1\n{}\n")).startswith(b"HTTP/1.1 405")
        nursery.cancel_scope.cancel()
    assert visited.responses == 1


def test_a_template_says_little() -> None:
    values = read_values(
        'a = 1\n[t]\nyes = true\nno = false\nx = "<&>"\nmany = [1]\n', {"a": "own"}
    )
    page = (
        "{{a}} {{t.x}} {{t.many}}|{{t}}|{{none}}|{{t.yes}} {{?t.yes}}Y{{/t.yes}}{{?t.no}}N{{/t.no}}"
    )
    assert fill_page(page, values) == "own &lt;&amp;&gt; ||| Y"
    assert fill_text("{{t.x}}<!-- no -->\n\n\n\nend", values) == "<&>\n\nend"
    with pytest.raises(UsageError, match="cannot be read"):
        read_values("a =", {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve"], "a live test compares 2 to 8 arms"),
        (["serve", "--arm", "x"], "is not NAME=DIR"),
        (["serve", "--arm", "baseline=."], "two arms called baseline"),
        (["serve", "--arm", "other=/nonexistent"], "cannot read a version"),
        (["serve", "--task", "bytes-gpt"], "has no [live] table"),
        (["email", "--url", "file:///etc/passwd"], "is not an address"),
    ],
)
def test_what_cannot_be_served_is_said(tmp_path: Path, arguments: list[str], message: str) -> None:
    counts = ["--counts", str(tmp_path / "c.sqlite")]
    result = CliRunner().invoke(cli, ["task", *arguments, *counts], standalone_mode=False)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert not (tmp_path / "c.sqlite").exists()


def test_the_report_says_each_rate_and_the_paired_gain(tmp_path: Path) -> None:
    counts = Counts(tmp_path / "c.sqlite", {"baseline": b"1", "other": b"2"})
    rng = random.Random(1)
    for number in range(200):
        name = number.to_bytes(16, "big")
        if counts.begin(name, 0, rng) == "other" or number % 4 == 0:
            counts.answer(name, 1)
    counts.close()
    result = CliRunner().invoke(cli, ["task", "report", str(tmp_path / "c.sqlite")])
    assert result.exit_code == 0, result.output
    baseline, other = result.output.splitlines()
    assert baseline.startswith("baseline: 0.")
    assert re.match(r"other: 1\.0000 .*; paired gain \+0\.\d+, 95 % within \+", other)


def test_a_version_must_hold_the_tasks_files(tmp_path: Path) -> None:
    version = write_version(tmp_path / "v", SOURCE)
    assert list(arms_of_task(built_in_directory("landing-page"), [("v", version)]).sources) == [
        "baseline", "v",
    ]  # fmt: skip
    (version / "variants.toml").write_text("x = ")
    with pytest.raises(UsageError, match="arm v cannot be handed out"):
        arms_of_task(DIRECTORY, [("v", version)])
