"""`swarm-node transfer`: replay the lineage at a larger scale, and say which improvements hold."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from node.cli.options import (
    Home,
    device_options,
    home_option,
    json_option,
    print_json,
    require_sandboxes,
)
from protocol.limits import TRANSFER_RUNS_MAX, TRANSFER_SEEDS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from node.blobs import BlobStore
    from node.config import Config
    from node.devices import Device
    from node.runner import Runner
    from node.runner_data import RunData
    from node.transfer.replay import Replay
    from protocol.keys import SigningKey
    from protocol.records import Transfer
    from swarm.ledger import Ledger
    from swarm.lineage import Entry
    from trainer.scales import Scaling
    from trainer.task import Task


@click.command()
@home_option
@click.option(
    "--entry", default="", metavar="ID",
    help="Replay up to this entry; the start of its id is enough.  [default: the head]",
)  # fmt: skip
@click.option("--tier", default="", metavar="NAME", help="Replay on another tier of the task.")
@click.option(
    "--scale", default="", metavar="NAME=FACTOR",
    help="Replay at a factor that the task offers, such as width=2.",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1, TRANSFER_SEEDS_MAX), default=8, show_default=True,
    help="Most seeds; clear answers stop earlier.",
)  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(1, TRANSFER_RUNS_MAX - 1), default=TRANSFER_RUNS_MAX - 1,
    show_default=True, help="Most entries to run; a longer path is thinned out evenly.",
)  # fmt: skip
@device_options
@json_option
def transfer(
    *,
    home: Home,
    entry: str,
    tier: str,
    scale: str,
    seeds: int,
    steps: int,
    as_json: bool,
    **device_flags: Any,
) -> None:
    """Replay the lineage from the genesis to an entry at a larger scale.

    Every script on the path is trained on the same seeds, until it is clear whether each step
    still helps there. The result is signed and shared with the swarm, for which it is information:
    it changes no verdict and no head. The home's node may run or not. Ctrl-C keeps what was
    measured; the same command goes on from there, or further with more --seeds.
    """
    require_sandboxes()
    from node.config import make_config
    from node.devices import agreed_device
    from node.identity import load_identity
    from node.offline import fold_home
    from node.transfer.replay import find_entry, path_to

    ledger = fold_home(home)
    task, blobs = _task(home, ledger)
    setting = _Setting(
        home=home,
        config=make_config(home.config, device_flags),
        key=load_identity(home.key),
        ledger=ledger,
        task=task,
        blobs=blobs,
        path=path_to(ledger, find_entry(ledger, entry), steps),
    )
    scaling = _scaling(ledger, task, tier, scale)
    # The tier that it is replayed at may be for other devices than the swarm's own.
    device = agreed_device(setting.config, task.tier(scaling.tier))
    replay = _replay(setting, scaling, seeds, device)
    if replay.wanted is not None:
        _run(setting, replay)
    _finish(setting, replay.body(), as_json=as_json)


@dataclasses.dataclass(frozen=True, slots=True)
class _Setting:
    """What one call of the command works with."""

    home: Home
    config: Config
    key: SigningKey
    ledger: Ledger
    task: Task
    blobs: BlobStore
    path: Sequence[Entry]


def _task(home: Home, ledger: Ledger) -> tuple[Task, BlobStore]:
    """The swarm's task, as this home has it.

    Raises:
        NodeError: It is not here yet.
    """
    from node.blobs import BlobStore
    from node.errors import NodeError
    from trainer.job import TrainerError
    from trainer.task import open_bundle

    blobs = BlobStore(home.blobs)
    bundle = blobs.read(ledger.genesis_body.task.digest)
    if bundle is None:
        raise NodeError("the swarm's task is not here yet; run the node until it has joined")
    try:
        return open_bundle(bundle), blobs
    except TrainerError as error:
        raise NodeError(f"the swarm's task cannot be used here: {error}") from error


def _scaling(ledger: Ledger, task: Task, tier: str, scale: str) -> Scaling:
    """What was asked for.

    Raises:
        UsageError: Nothing, both, or something that the task does not offer.
    """
    from node.errors import UsageError
    from trainer.fields import TaskError
    from trainer.scales import find_scaling, offered_scales

    own = ledger.genesis_body.tier
    if bool(tier) == bool(scale):
        offered = offered_scales(task, own)
        tiers = [name for name in offered if "=" not in name]
        factors = [name for name in offered if "=" in name]
        raise UsageError(
            "say at which scale, one of: "
            + ", ".join([f"--tier {name}" for name in tiers] + [f"--scale {n}" for n in factors])
        )
    try:
        return find_scaling(task, own, tier or scale)
    except TaskError as error:
        raise UsageError(str(error)) from error


def _replay(setting: _Setting, scaling: Scaling, seeds: int, device: Device) -> Replay:
    from node.hardware import describe_runtime
    from node.transfer.journal import Heading, Journal
    from node.transfer.replay import Plan, Replay
    from swarm.transfer import Judge

    ledger, path = setting.ledger, setting.path
    heading = Heading(
        swarm=ledger.swarm,
        entry=path[-1].id,
        scale=scaling.name,
        device=device.words,
        runtime=describe_runtime(),
    )
    plan = Plan(
        task=setting.task,
        scaling=scaling,
        path=path,
        scripts={entry.source: _script(setting, entry.source) for entry in path},
        device=device,
        seeds_max=seeds,
    )
    judge = Judge(ledger.metric, ledger.policy.tau_micro)
    return Replay(plan, judge, Journal(setting.home.transfers, heading), setting.key)


def _script(setting: _Setting, digest: bytes) -> str:
    """An entry's script, fetched through the running node when it is not here."""
    from node.errors import NodeError
    from node.transfer.delivery import fetch_script

    raw = setting.blobs.read(digest)
    if raw is None:
        fetch_script(setting.home, digest)
        raw = setting.blobs.read(digest)
    try:
        return (raw or b"").decode()
    except UnicodeDecodeError as error:
        raise NodeError(f"script {digest.hex()[:16]} is not UTF-8 text") from error


def _run(setting: _Setting, replay: Replay) -> None:
    """Make the runs that are wanted.

    Raises:
        Abort: The user interrupted; what was measured is kept.
    """
    from node.cli.local_runner import with_run_data
    from node.cli.transfer_display import ReplayDisplay

    async def work(runner: Runner) -> None:
        await replay.run(runner, display.show, display.ended)

    with ReplayDisplay(replay.plan.path, replay.plan.seeds_max) as display:
        try:
            with_run_data(
                lambda: _data(setting),
                work,
                stage_home=setting.home.worker_code,
                sandbox_name=setting.config.sandbox,
                devices=replay.plan.device.files(),
            )
        except click.Abort:
            display.close()
            click.echo("what was measured is kept; the same command goes on from there", err=True)
            raise


def _data(setting: _Setting) -> RunData:
    """The task's data, from this home's blobs.

    Raises:
        NodeError: Some of it is not here yet.
    """
    from node.errors import NodeError
    from node.runner_data import run_data, wanted

    named = {item.name: item.digest for item in setting.ledger.genesis_body.data}
    files: dict[str, Path] = {}
    for name in wanted(setting.task):
        file = setting.blobs.find(named[name]) if name in named else None
        if file is None:
            raise NodeError(f"the {name} data is not here yet; run the node until it has joined")
        files[name] = file
    return run_data(setting.task, files, setting.home.worker_code)


def _finish(setting: _Setting, body: Transfer, *, as_json: bool) -> None:
    """Sign, deliver and show the result."""
    from node.cli.transfer_display import print_report
    from node.view import transfer_report
    from swarm.transfer import Judge, report

    ledger, path = setting.ledger, setting.path
    found = report(body, Judge(ledger.metric, ledger.policy.tau_micro))
    record, delivered = _publish(setting, body)
    member = ledger.is_member(setting.key.public)
    if as_json:
        titles = {entry.id.hex(): entry.title for entry in path}
        value = transfer_report(found)
        steps = [{"title": titles[step["entry"]], **step} for step in value["steps"]]
        heading = {"record": record.hex(), "delivered": delivered, "member": member}
        print_json({**heading, **value, "steps": steps})
        return
    print_report(found, path, ledger)
    click.echo(
        {
            "gossiped": f"signed as {record.hex()[:16]} and sent to the swarm",
            "stored": f"signed as {record.hex()[:16]}; the swarm gets it when this node starts",
            "known": f"the swarm has it already, as {record.hex()[:16]}",
        }[delivered]
    )
    if not member:
        click.echo("this node is no member, so that others do not show it", err=True)


def _publish(setting: _Setting, body: Transfer) -> tuple[bytes, str]:
    """Sign and deliver a record, unless the swarm has the same one already."""
    from node import clock
    from node.transfer.delivery import deliver
    from protocol.envelope import peek_id, seal

    key, ledger = setting.key, setting.ledger
    for record in ledger.records():
        if record.author == key.public and record.body == body:
            return record.id, "known"
    envelope = seal(body, key=key, swarm=ledger.swarm, created_ms=clock.now_ms())
    return peek_id(envelope), deliver(setting.home, envelope)
