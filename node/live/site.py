"""The pages of a live test: a variant for each visitor, and one button that counts.

This file decides what is served under which path. Looking costs nothing but a visit; only a POST
counts as a response, because browsers and mail scanners fetch links on their own. A visitor keeps
the arm of its cookie or of the link in its e-mail. It refuses to know arms' statistics (`counts`).
"""

import random
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from node.live.counts import TOKEN_BYTES, Counts
from node.live.template import fill_page, fill_text, read_values
from node.web import guard
from node.web.http import Request, Response
from protocol.sources import split_files
from trainer.manifest import Live
from trainer.task import Task

VISITS_PER_S: Final = 50.0
"""New visits counted in a second; beyond it, and for robots, the baseline is shown uncounted."""

_BURST: Final = 200.0
_COOKIE: Final = "swarm_visit"
_COOKIE_AGE_S: Final = 30 * 24 * 3600
_TOKEN: Final = re.compile(rf"[0-9a-f]{{{2 * TOKEN_BYTES}}}")
_ROBOT: Final = re.compile(r"bot|crawl|spider|preview|monitor|curl|wget|python", re.IGNORECASE)
_HTML: Final = "text/html; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_NEVER_KEPT: Final = ("Cache-Control", "no-store")
_THANKS: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Thank you</title>'
    "<p>Thank you.</p></html>"
)

HEADERS: Final = tuple(
    (name, value.replace("form-action 'none'", "form-action 'self'"))
    for name, value in guard.SECURITY_HEADERS
)
"""Those of every page of this program, but for one form that may be sent to this server."""


@dataclass(slots=True)
class LiveSite:
    """What is served.

    Attributes:
        task: The task.
        live: What of it is handed out.
        sources: The edited files of every arm, as one text each, by the arm's name.
        counts: Where visits are counted.
        now_ms: The clock.
        rng: Chance.
        names: Host names besides addresses under which the page may be asked for.
    """

    task: Task
    live: Live
    sources: Mapping[str, str]
    counts: Counts
    now_ms: Callable[[], int]
    rng: random.Random
    names: Collection[str] = ()
    _allowance: float = _BURST
    _allowed_ms: int = 0

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        if not guard.is_allowed_host(request.hosts, self.names):
            return Response(403, _TEXT, b"this host name is not served here\n")
        match request.method, request.path:
            case "GET" | "HEAD", "/":
                return self._page(request)
            case "POST", path if path.startswith("/yes/"):
                return self._count(path.removeprefix("/yes/"))
            case "GET" | "HEAD", path if path.endswith(".css") and path[1:] in self.task.files:
                return Response(200, "text/css; charset=utf-8", self.task.files[path[1:]])
            case _:
                return Response(404, _TEXT, b"not found\n")

    def email(self, base_url: str, name: str) -> str:
        """An e-mail for one person, with a link that keeps its arm, subject and sender first."""
        token = secrets.token_bytes(TOKEN_BYTES)
        arm = self.counts.begin(token, self.now_ms(), self.rng) or self.counts.arms[0]
        link = f"{base_url.rstrip('/')}/?visit={token.hex()}"
        files = self._files(arm)
        values = read_values(files[self.live.values], {"link": link, "name": name})
        head = fill_text("From: {{email.sender}}\nSubject: {{email.subject}}\n\n", values)
        return head + fill_text(files[self.live.email], values).strip() + "\n"

    def _page(self, request: Request) -> Response:
        asked = request.query.get("visit") or _cookie(request)
        token = bytes.fromhex(asked) if asked and _TOKEN.fullmatch(asked) else b""
        arm = self.counts.arm_of(token) if token else None
        headers = [_NEVER_KEPT]
        if arm is None:
            token, arm = b"", self.counts.arms[0]
            if self._may_count(request):
                fresh = secrets.token_bytes(TOKEN_BYTES)
                drawn = self.counts.begin(fresh, self.now_ms(), self.rng)
                if drawn is not None:
                    token, arm = fresh, drawn
        if token:
            keep = f"Path=/; Max-Age={_COOKIE_AGE_S}; HttpOnly; SameSite=Lax"
            headers.append(("Set-Cookie", f"{_COOKIE}={token.hex()}; {keep}"))
        files = self._files(arm)
        values = read_values(files[self.live.values], {"token": token.hex() or "none"})
        page = fill_page(files[self.live.page], values)
        return Response(200, _HTML, page.encode(), headers)

    def _count(self, text: str) -> Response:
        known = _TOKEN.fullmatch(text) and self.counts.answer(bytes.fromhex(text), self.now_ms())
        if not known and text != "none":
            return Response(404, _TEXT, b"there is no such visit\n")
        return Response(200, _HTML, _THANKS.encode(), [_NEVER_KEPT])

    def _files(self, arm: str) -> dict[str, str]:
        fixed = {name: content.decode() for name, content in self.task.files.items()}
        return fixed | split_files(self.sources[arm])

    def _may_count(self, request: Request) -> bool:
        """Whether this may be a person, and there is room in this second."""
        agent = request.headers.get("user-agent", "")
        purpose = request.headers.get("sec-purpose", "") + request.headers.get("purpose", "")
        if request.method != "GET" or not agent or _ROBOT.search(agent) or purpose:
            return False
        now_ms = self.now_ms()
        passed_s = max(0, now_ms - self._allowed_ms) / 1000
        self._allowance = min(_BURST, self._allowance + passed_s * VISITS_PER_S)
        self._allowed_ms = now_ms
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


def _cookie(request: Request) -> str:
    for part in request.headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == _COOKIE:
            return value
    return ""
