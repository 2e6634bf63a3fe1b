"""The node as a whole: what is started, in which order, and how it ends.

Order: lock the home, open the store, load the key, listen, learn the genesis, fold the records,
enter the swarm, prove the sandbox, fetch task and data, reconcile, measure the genesis script, and
only then sign trials. A restored backup thus first learns what it had signed before.
"""

import contextlib
import importlib.util
import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from gossip.errors import AddressError, AddressInUseError, GossipError, UnreachableError
from gossip.interface import NetworkConfig
from gossip.net.host import Network
from node import clock, news, view
from node.activity import Activity, Work
from node.agency import Agency, check_agent, describe_task, make_agency, take_api_key
from node.author import Author
from node.bench import Bench
from node.blobs import BlobStore
from node.capacity import workers_of
from node.config import Config, expand_bootstrap
from node.control import serve_control
from node.desk import Desk
from node.devices import agreed_device
from node.door import Door
from node.drafts import Drafts
from node.errors import NodeError, UnreachableNodeError, UsageError
from node.founding import SWARM_SETTING, load_genesis
from node.hardware import describe_device
from node.home import Home
from node.hypothesis_costs import HypothesisCosts
from node.identity import load_or_create_identity
from node.intake import Intake
from node.materials import Materials
from node.methods import control_methods
from node.research import Researcher
from node.resting import RestRules, read_machine
from node.runner import open_runner
from node.runner_data import fetch_run_data
from node.sandbox import Sandbox, SandboxError, SandboxUnavailableError, select_sandbox
from node.steering import Steering
from node.stewardship import Steward
from node.store import RecordStore
from node.transfer import delivery
from node.trial_logs import TrialLogs
from node.web.service import Leaderboard, make_leaderboard
from node.workbench import Tools
from protocol.envelope import open_envelope
from protocol.errors import WireError
from protocol.keys import SigningKey
from protocol.records import Genesis, Record
from swarm.events import Event
from trainer.job import TrainerError

if TYPE_CHECKING:
    from trio_typing import TaskStatus

_RECONCILE_TIMEOUT_S: Final = 60.0
_SECOND_PEER_S: Final = 10.0
"""How long a node that may have signed before waits for a second peer's word on what it signed."""

_log = logging.getLogger(__name__)


class Node:
    """One running node.

    Args:
        home: Its directory.
        config: How it runs.
    """

    def __init__(self, home: Home, config: Config) -> None:
        self._home = home
        self._config = config
        self._changed = trio.Event()
        self._intake: Intake | None = None
        self._researcher: Researcher | None = None
        self._sandbox: Sandbox | None = None
        self._sandbox_problem = ""
        self._leaderboard: Leaderboard | None = None
        self._may_have_signed = True
        self._workers = workers_of(config)
        self._activity = Activity(describe_device(), [Work("starting")] * self._workers)
        self._api_key = take_api_key(os.environ)
        check_agent(config, self._api_key)
        self._agency = Agency(None, "none" if config.role == "observer" else "not chosen yet")
        self._costs = HypothesisCosts(home.agent_costs)
        self._steering = Steering(
            self._activity,
            RestRules(config.pause_on_battery, config.pause_load),
            partial(read_machine, self._workers),
        )

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled.

        Raises:
            NodeError: It cannot start; the text says why and what to do.
        """
        with self._locked(), self._opened_store() as store:
            self._may_have_signed = self._home.key.exists()
            key = load_or_create_identity(self._home.key)
            blobs = BlobStore(self._home.blobs)
            desk = Desk(node_id=key.public, store=store, blobs=blobs, role=self._config.role)
            async with self._network(key.seed, desk) as (network, nursery):
                genesis = load_genesis(store) or await self._learn_genesis(store, network)
                body = genesis.body
                assert isinstance(body, Genesis)
                intake = Intake(
                    genesis=genesis,
                    store=store,
                    clock=trio.current_time,
                    on_events=self._on_events,
                    # Folding a long history takes seconds, in which peers already want answers.
                    door=await trio.to_thread.run_sync(Door, genesis, store),
                )
                self._intake = desk.intake = intake
                await nursery.start(intake.run)
                await network.enter(genesis.id)
                now = partial(self._now, key, network)
                methods = control_methods(
                    intake,
                    blobs,
                    heard=desk.presences.known,
                    now=now,
                    suggest=self._suggest,
                    costs=self._costs,
                )
                materials = Materials(body, blobs, network)
                author = Author(key, intake, network)
                methods |= self._steering.methods()
                methods |= delivery.control_methods(author, materials.script)
                await nursery.start(serve_control, self._home.control, methods)
                self._write_address(network)
                self._leaderboard = make_leaderboard(
                    self._config,
                    intake=intake,
                    running=now,
                    heard=desk.presences.known,
                    blobs=blobs,
                )
                if self._leaderboard is not None:
                    await nursery.start(self._leaderboard.run)
                task_status.started()
                self._sandbox = await self._choose_sandbox()
                steward = Steward(
                    author=author,
                    desk=desk,
                    network=network,
                    materials=materials,
                    activity=self._activity,
                    sandbox=self._sandbox.name if self._sandbox else "",
                    observes=self._config.role == "observer",
                )
                nursery.start_soon(steward.run, lambda: self._changed)
                if self._sandbox is None:
                    await trio.sleep_forever()
                else:
                    await self._research(self._sandbox, author, materials, network, desk)
                    if not self._steering.leaving:
                        await trio.sleep_forever()

    # -- start ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the home's lock, so that no second node runs on it."""
        with self._home.locked():
            # One that was killed has left its address, where nobody listens any more.
            self._home.address.unlink(missing_ok=True)
            try:
                yield
            finally:
                self._home.address.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _opened_store(self) -> Iterator[RecordStore]:
        store = RecordStore(self._home.database)
        try:
            yield store
        finally:
            store.close()

    @contextlib.asynccontextmanager
    async def _network(
        self, seed: bytes, desk: Desk
    ) -> AsyncIterator[tuple[Network, trio.Nursery]]:
        config = self._config
        try:
            network = Network(
                NetworkConfig(
                    seed=seed,
                    listen=config.listen,
                    advertise=config.advertise,
                    bootstrap=expand_bootstrap(config.bootstrap),
                ),
                desk,
            )
        except AddressError as error:
            raise UsageError(str(error)) from error
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(network.serve)
            except* AddressInUseError as group:
                raise NodeError(
                    f"{group.exceptions[0]}; choose another port with --listen"
                ) from group
            yield network, nursery
            nursery.cancel_scope.cancel()

    async def _learn_genesis(self, store: RecordStore, network: Network) -> Record:
        """Get the genesis from a bootstrap peer: the first one that answers with a valid one."""
        addresses = expand_bootstrap(self._config.bootstrap)
        if not addresses:
            raise UsageError(
                "nothing to join: give --bootstrap ADDRESS, or found a swarm with swarm-node init"
            )
        problems: list[str] = []
        for address in addresses:
            try:
                envelope = await network.fetch_genesis(address)
                genesis = open_envelope(envelope, swarm=None)
            except UnreachableError as error:
                problems.append(str(error))
                continue
            except (GossipError, WireError) as error:
                problems.append(f"{address}: {error}")
                continue
            store.append([(genesis.id, genesis.created_ms, envelope)])
            store.put_setting(SWARM_SETTING, genesis.id)
            return genesis
        raise UnreachableNodeError("cannot join: " + "; ".join(problems))

    def _write_address(self, network: Network) -> None:
        partial_path = self._home.address.with_suffix(".partial")
        partial_path.write_text("\n".join(network.addresses) + "\n")
        partial_path.rename(self._home.address)
        _log.info("listening on %s", ", ".join(network.addresses))

    @property
    def page(self) -> str:
        """Where the leaderboard page is served; empty when it is not."""
        return "" if self._leaderboard is None else self._leaderboard.url

    async def _choose_sandbox(self) -> Sandbox | None:
        if self._config.role == "observer":
            self._sandbox_problem = "this node only watches: it runs no code"
            self._activity.workers[:] = [Work("idle")]
            return None
        if importlib.util.find_spec("torch") is None:
            self._sandbox_problem = "torch is not installed, so this node only watches"
            return None
        try:
            return await trio.to_thread.run_sync(select_sandbox, self._config.sandbox)
        except SandboxUnavailableError as error:
            self._sandbox_problem = str(error)
            self._activity.news(clock.now_ms(), "no sandbox works here: running no code")
            _log.error("no sandbox: %s; see swarm-node doctor", error)
            return None

    # -- research -------------------------------------------------------------------------------

    async def _research(
        self,
        sandbox: Sandbox,
        author: Author,
        materials: Materials,
        network: Network,
        desk: Desk,
    ) -> None:
        """Fetch what training needs, learn what was signed before, and let the workers work."""
        config = self._config
        genesis = author.intake.ledger.genesis_body
        try:
            task = await materials.task()
            tier = task.tier(genesis.tier)
            device = await trio.to_thread.run_sync(agreed_device, config, tier)
            self._activity.device = device.words
            data = await fetch_run_data(materials, task, self._home.worker_code)
        except TrainerError as error:
            raise NodeError(f"the swarm's task cannot be used here: {error}") from error
        async with open_runner(
            sandbox,
            data=data,
            stage_home=self._home.worker_code,
            slots=self._workers,
            devices=device.files(),
        ) as runner:
            job = partial(task.job, genesis.tier, device=device.kind)
            ratio = genesis.policy.cost_ratio_permille
            bench = Bench(runner, job, author.key, ratio, device.words)
            await self._wait_reconciled(network, author)
            await self._measure_genesis(bench, await materials.script(genesis.source))
            tools = Tools(
                author=author,
                materials=materials,
                bench=bench,
                claims=desk.claims,
                activity=self._activity,
                logs=TrialLogs(self._home.trial_logs),
                drafts=Drafts(self._home.drafts),
                alive=lambda: desk.presences.agents(trio.current_time()),
                entry=task.entry,
                costs=self._costs,
            )
            self._agency = make_agency(
                config,
                self._home,
                self._api_key,
                describe_task(task, genesis.tier, self._home),
                tell=tools.tell,
                now_s=trio.current_time,
            )
            seed = config.seed
            if seed is None:
                seed = int.from_bytes(author.key.public[:8], "big")
            self._researcher = Researcher(tools, self._agency.proposer, seed)
            desk.on_claim = self._researcher.on_change
            self._steering.take(self._researcher)
            async with trio.open_nursery() as watching:
                watching.start_soon(self._steering.watch_machine)
                async with trio.open_nursery() as nursery:
                    for worker in range(self._workers):
                        nursery.start_soon(self._researcher.work, worker)
                watching.cancel_scope.cancel()

    async def _measure_genesis(self, bench: Bench, script: str) -> None:
        def show(arm: str, share: float) -> None:
            self._activity.begin(0, Work("starting", None, "genesis script", 0, arm, share))

        try:
            outcome = await bench.measure_genesis(script, show)
        except SandboxError as error:
            raise NodeError(f"the sandbox broke: {error}") from error
        if outcome.status != "ok":
            _log.error("the genesis script ended as %s: %s", outcome.status, outcome.reason)
            self._activity.news(clock.now_ms(), f"the genesis script ended as {outcome.status}")

    async def _wait_reconciled(self, network: Network, author: Author) -> None:
        """Learn from peers what this node signed before, unless it cannot have signed anything.

        One peer could hide it, and this node would contradict itself, so two are asked where there
        are two.
        """
        signed_before = author.intake.ledger.has_trials_by(author.key.public)
        if not self._config.bootstrap and not signed_before:
            return
        with trio.move_on_after(_RECONCILE_TIMEOUT_S) as scope:
            await network.wait_reconciled()
        if scope.cancelled_caught:
            _log.warning("no peer answered; going on with what is here")
        elif self._may_have_signed:
            with trio.move_on_after(_SECOND_PEER_S):
                await network.wait_reconciled(peers=2)

    # -- while running --------------------------------------------------------------------------

    def _on_events(self, events: Sequence[Event]) -> None:
        """Tell people and workers what has changed."""
        assert self._intake is not None
        at_ms = clock.now_ms()
        for event in events:
            line = news.describe(event, self._intake.ledger)
            if line is not None:
                self._activity.news(at_ms, *line)
        if self._leaderboard is not None:
            self._leaderboard.note(events)
        self._changed.set()
        self._changed = trio.Event()
        if self._researcher is not None:
            self._researcher.on_change()

    def _now(self, key: SigningKey, network: Network) -> view.Running:
        return view.Running(
            node_id=key.public,
            peers=network.peers(),
            activity=self._activity,
            sandbox=self._sandbox.name if self._sandbox else "",
            sandbox_problem=self._sandbox_problem,
            agent=self._agency.status() | {"per_hypothesis": self._costs.status()},
        )

    async def _suggest(self, source: str, title: str, rationale: str) -> dict[str, str]:
        """Take in a person's change, once there is somebody to screen it."""
        if self._researcher is None:
            why = self._sandbox_problem or "it is still starting"
            raise NodeError(f"this node cannot test anything now: {why}")
        return await self._researcher.suggest(source, title, rationale)
