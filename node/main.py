"""Running a node in the foreground: the announcement, and one clear error at the end."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from node.config import Config
from node.errors import NodeError
from node.home import Home
from node.service import Node
from node.signals import until_signalled

if TYPE_CHECKING:
    from trio_typing import TaskStatus


def run_until_signalled(home: Home, config: Config, *, announce: Callable[[str], None]) -> None:
    """Run a node until SIGINT or SIGTERM.

    Args:
        home: Its directory.
        config: How it runs.
        announce: Prints a line on stdout, such as an address.

    Raises:
        NodeError: It could not start, or cannot go on.
    """
    try:
        trio.run(_run, home, config, announce)
    except BaseExceptionGroup as group:
        raise _first_cause(group) from group


async def _run(home: Home, config: Config, announce: Callable[[str], None]) -> None:
    # From the start: reaching a peer can take long, and must be stoppable.
    async with until_signalled() as nursery:
        node = Node(home, config)
        await nursery.start(_run_to_its_end, node, nursery.cancel_scope)
        for address in home.address.read_text().split():
            announce(address)
        if node.page:
            announce(node.page)


async def _run_to_its_end(
    node: Node,
    scope: trio.CancelScope,
    *,
    task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a node; one that ends by itself leaves nothing to wait for."""
    await node.run(task_status=task_status)
    scope.cancel()


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show: the node's own if there is one, else whatever came first.

    The node runs in nurseries, which put even a single error into groups.
    """
    node_errors = group.subgroup(NodeError)
    current: BaseException = node_errors or group
    while isinstance(current, BaseExceptionGroup):
        current = current.exceptions[0]
    return current
