"""What a person or the machine's state asks of the workers: rest, go on, end.

Wishes may come before there is anything to steer (a node that joins fetches data first); they are
kept, and handed to the researcher once it is there. When to rest is decided in `node.resting`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio

from node.activity import Activity, Work
from node.errors import NodeError
from node.research import Researcher
from node.resting import Readings, Rest, RestRules, decide_rest

_PERSON: Final = "person"
_MACHINE: Final = "machine"
_LOOK_S: Final = 10.0


class Steering:
    """Steers the workers of one node.

    Args:
        activity: Shows what they do.
        rules: When the machine wants them to rest.
        read: Looks at the machine.

    Attributes:
        leaving: Whether the node ends once its workers have.
    """

    def __init__(self, activity: Activity, rules: RestRules, read: Callable[[], Readings]) -> None:
        self.leaving = False
        self._activity = activity
        self._rules = rules
        self._read = read
        self._finishing = False
        self._paused = False
        self._researcher: Researcher | None = None

    def take(self, researcher: Researcher) -> None:
        """Steer these workers from now on."""
        self._researcher = researcher
        if self._paused:
            researcher.rest(_PERSON, "paused by hand")
        if self._finishing:
            researcher.finish(drop=not self.leaving)

    def methods(self) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Any]]]:
        """What the control socket answers."""
        return {"finish": self._finish, "pause": self._pause, "resume": self._resume}

    async def watch_machine(self) -> None:
        """Rest and go on as the machine's state demands, until cancelled."""
        rest = Rest()
        while True:
            rest = decide_rest(rest, self._read(), self._rules, trio.current_time())
            if self._researcher is not None:
                self._researcher.rest(_MACHINE, rest.reason)
            await trio.sleep(_LOOK_S)

    async def _finish(self, params: Mapping[str, Any]) -> Any:
        """Begin nothing new; with `leave`, let what runs end, and then end the node."""
        self._finishing = True
        self.leaving = self.leaving or params.get("leave") is True
        if self._researcher is not None:
            self._researcher.finish(drop=not self.leaving)
        else:
            self._activity.workers[:] = [Work("finished")] * len(self._activity.workers)
        return {"finishing": True, "leaving": self.leaving}

    async def _pause(self, _params: Mapping[str, Any]) -> Any:
        if self._finishing:
            raise NodeError("this node is finishing; it begins nothing new anyway")
        self._paused = True
        if self._researcher is not None:
            self._researcher.rest(_PERSON, "paused by hand")
        return {"resting": "paused by hand"}

    async def _resume(self, _params: Mapping[str, Any]) -> Any:
        """Take back a person's pause; the machine's own reasons stay."""
        self._paused = False
        if self._researcher is None:
            return {"resting": ""}
        self._researcher.rest(_PERSON, "")
        return {"resting": self._researcher.resting}
