"""A runner for commands that train on this machine without a swarm.

It knows where unpacked data is cached, turns Ctrl-C into an ordinary cancellation, and makes a
broken sandbox one line of text.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from node.devices import Device
    from node.runner import Runner
    from node.runner_data import RunData
    from trainer.manifest import Tier
    from trainer.task import Task

T = TypeVar("T")


def cache_directory() -> Path:
    """Where unpacked data is kept between runs; it can be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "swarm-node"


def local_device(tier: Tier, flags: dict[str, Any]) -> Device:
    """What a run of a tier is to be computed on here.

    Args:
        tier: The task's tier: it may name a class of devices.
        flags: `--device` and `--gpu`, as given; the settings say what was not.

    Raises:
        DeviceError: The tier's device is not here, or not agreed to.
        ConfigError: The settings are wrong.
    """
    from node.config import make_config
    from node.devices import agreed_device
    from node.home import find_home

    return agreed_device(make_config(find_home(None).config, flags), tier)


def with_runner(
    task: Task,
    directory: Path,
    work: Callable[[Runner], Awaitable[T]],
    *,
    device: Device,
    split: str = "validation",
    slots: int = 1,
) -> T:
    """Does some work with a runner on a task's data.

    Args:
        task: The task.
        directory: Where its data is.
        work: Gets the runner.
        device: What its jobs compute on.
        split: What is scored.
        slots: Jobs that can run at once.

    Raises:
        DataError: The data cannot be had.
        ClickException: The sandbox or a worker cannot be started.
        Abort: The user interrupted.
    """
    from node.config import chosen_sandbox
    from node.errors import ConfigError
    from node.home import find_home
    from node.runner_data import run_data, wanted
    from trainer.data import cached

    home = cache_directory() / "worker"

    def load() -> RunData:
        files = {
            name: cached(cache_directory() / "data", directory, task.pins[name])
            for name in wanted(task, split)
        }
        return run_data(task, files, home, split)

    try:
        sandbox = chosen_sandbox(find_home(None).config)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    return with_run_data(
        load, work, stage_home=home, slots=slots, sandbox_name=sandbox, devices=device.files()
    )


def with_run_data(
    load: Callable[[], RunData],
    work: Callable[[Runner], Awaitable[T]],
    *,
    stage_home: Path,
    slots: int = 1,
    sandbox_name: str = "auto",
    devices: tuple[Path, ...] = (),
) -> T:
    """Does some work with a runner on some data.

    Args:
        load: Gives what runs work on.
        work: Gets the runner.
        stage_home: Where the worker's code is put.
        slots: Jobs that can run at once.
        sandbox_name: Which sandbox to use.
        devices: GPU devices that jobs may use.

    Raises:
        DataError: The data cannot be had.
        ClickException: The sandbox or a worker cannot be started.
        Abort: The user interrupted.
    """
    import trio

    from node.errors import NodeError
    from node.runner import open_runner
    from node.sandbox import SandboxError, select_sandbox
    from node.signals import until_signalled

    async def go() -> list[T]:
        data = load()
        done: list[T] = []
        async with (
            # Ctrl-C becomes an ordinary cancellation, so that the worker is ended in order.
            until_signalled() as nursery,
            open_runner(
                sandbox, data=data, stage_home=stage_home, slots=slots, devices=devices
            ) as runner,
        ):
            done.append(await work(runner))
            nursery.cancel_scope.cancel()
        return done

    try:
        sandbox = select_sandbox(sandbox_name)
        done = trio.run(go)
    except (SandboxError, NodeError) as error:
        raise click.ClickException(str(error)) from error
    except BaseExceptionGroup as group:
        # The nursery hands on one fault of the runner in a group.
        known, other = group.split((SandboxError, NodeError))
        if known is None or other is not None:
            raise
        raise click.ClickException(str(known.exceptions[0])) from group
    if not done:
        raise click.Abort
    return done[0]
