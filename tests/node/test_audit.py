import json
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner

from node.audit import Finding, audit_home
from node.cli.lineage import lineage
from node.home import Home
from protocol.envelope import seal
from protocol.policy import DEMO
from protocol.records import Record, Trial
from tests.node.scripted import GENESIS_SCRIPT, ScriptedSwarm
from tests.swarm.helpers import arm, entry_of, key, steady

GAIN = 100_000
BARELY = [13_200, 11_900, 19_400, 16_300, 16_900, 10_800, 15_200, 16_200]
"""Gains that suffice for three verifiers, and do not with a liar's among them."""


def two_entries() -> ScriptedSwarm:
    """A fork of which the right side goes on, and an idea that did not help."""
    swarm = ScriptedSwarm()
    swarm.scripts = {
        "faster": GENESIS_SCRIPT.replace("0.1", "0.2"),
        "wider": GENESIS_SCRIPT.replace("64", "96"),
        "deeper": GENESIS_SCRIPT.replace("0.1", "0.2").replace("DEPTH = 2", "DEPTH = 3"),
        "worse": GENESIS_SCRIPT.replace("64", "8"),
    }
    swarm.members(4)
    verifiers = [key(2), key(3)]
    first = swarm.merged("faster", key(1), verifiers, steady(2 * GAIN, 8))[0]
    swarm.merged("wider", key(4), verifiers, steady(GAIN, 8))
    swarm.merged("deeper", key(1), verifiers, steady(GAIN, 8), parents=(entry_of(first),))
    worse = swarm.hypothesis("worse", key(1))
    swarm.trials(worse, verifiers, steady(-GAIN, 8))
    return swarm


def faults(findings: list[Finding]) -> list[str]:
    return [item.text for item in findings if not item.ok]


def test_a_sound_lineage_is_told_in_words(tmp_path: Path) -> None:
    home = two_entries().write(tmp_path / "home")
    findings = audit_home(home)
    assert faults(findings) == []
    text = "\n".join(item.text for item in findings)
    assert "44 of 44 records are canonical, signed and named by their bytes" in text
    assert "32 of 32 seeds follow" in text
    assert "1 refuted, 3 verified" in text
    assert "“deeper”: gain +0.1" in text
    assert "4 entries and 1 forks" in text


def test_the_command_prints_it_and_exits(tmp_path: Path) -> None:
    home = two_entries().write(tmp_path / "home")
    options = ["--home", str(home.root)]
    good = CliRunner().invoke(lineage, ["verify", *options], standalone_mode=False)
    assert good.return_value == 0
    assert good.output.endswith("the lineage is sound\n")
    plain = CliRunner().invoke(lineage, [*options, "--json"])
    assert [entry["title"] for entry in json.loads(plain.output)] == [
        "genesis", "faster", "deeper",
    ]  # fmt: skip
    _edit(home, "DELETE FROM record WHERE sequence=6")
    bad = CliRunner().invoke(lineage, ["verify", "--json", *options], standalone_mode=False)
    assert bad.return_value == 1
    assert json.loads(bad.output)["ok"] is False
    # Options of the group are no options of its command.
    wrong = CliRunner().invoke(lineage, [*options, "verify"])
    assert wrong.exit_code == 2


def test_the_lineage_tells_what_was_rolled_back(tmp_path: Path) -> None:
    swarm = two_entries()
    verifiers = [key(2), key(3)]
    swarm.scripts["shaky"] = GENESIS_SCRIPT.replace("64", "72")
    shaky = swarm.hypothesis("shaky", key(1))
    trials = swarm.trials(shaky, verifiers, steady(GAIN, 8))
    swarm.merge(shaky, key(1), trials)
    swarm.trial(shaky, key(4), 0, 0, child=arm(None, "crashed"))
    home = swarm.write(tmp_path / "home")
    assert faults(audit_home(home)) == []
    result = CliRunner().invoke(lineage, ["--home", str(home.root)])
    assert "rolled back: “shaky” is refuted: " in result.output
    assert "crashed" in result.output


def test_what_stands_on_its_verifiers_signatures_is_told_so(tmp_path: Path) -> None:
    swarm = ScriptedSwarm(policy=replace(DEMO, liars=1, max_verifiers=5, alpha_ppm=20_000))
    swarm.scripts = {"faster": GENESIS_SCRIPT.replace("0.1", "0.2")}
    swarm.members(5)
    verifiers = [key(2), key(3), key(4)]
    hypothesis = swarm.hypothesis("faster", key(1))
    trials = swarm.trials(hypothesis, verifiers, BARELY)
    for one in verifiers:
        swarm.merge(hypothesis, one, trials)
    swarm.trials(hypothesis, [key(5)], [-10_000, 0, 10_000, -10_000])
    home = swarm.write(tmp_path / "home")
    findings = audit_home(home)
    assert faults(findings) == []
    assert "signed it than may lie" in next(
        item.text for item in findings if "“faster”" in item.text
    )
    result = CliRunner().invoke(lineage, ["--home", str(home.root)])
    assert "faster" in result.output
    assert "rolled back" not in result.output


def _edit(home: Home, statement: str, *values: object) -> None:
    database = apsw.Connection(str(home.database))
    database.execute(statement, values)
    database.close()


def _row(home: Home, sequence: int) -> bytes:
    database = apsw.Connection(str(home.database))
    envelope = database.execute("SELECT envelope FROM record WHERE sequence=?", (sequence,)).get
    database.close()
    assert isinstance(envelope, bytes)
    return envelope


def test_a_changed_byte_is_found_wherever_it_is(tmp_path: Path) -> None:
    home = two_entries().write(tmp_path / "home")
    original = _row(home, 9)
    for position, words in ((0, "signature"), (len(original) - 1, "another id")):
        changed = bytearray(original)
        changed[position] ^= 1
        _edit(home, "UPDATE record SET envelope=? WHERE sequence=9", bytes(changed))
        assert any(words in text for text in faults(audit_home(home))), words
    _edit(home, "UPDATE record SET envelope=?, created_ms=5 WHERE sequence=9", original)
    assert faults(audit_home(home)) == [
        f"record {_id(home, 9).hex()[:16]}: the store's date is not the record's"
    ]


def _id(home: Home, sequence: int) -> bytes:
    database = apsw.Connection(str(home.database))
    identity = database.execute("SELECT id FROM record WHERE sequence=?", (sequence,)).get
    database.close()
    assert isinstance(identity, bytes)
    return identity


def test_a_missing_reference_is_a_fault(tmp_path: Path) -> None:
    home = two_entries().write(tmp_path / "home")
    _edit(home, "DELETE FROM record WHERE sequence=6")
    assert any("which is missing" in text for text in faults(audit_home(home)))


def test_a_seed_of_ones_own_choice_is_a_fault(tmp_path: Path) -> None:
    swarm = two_entries()
    hypothesis = swarm.hypothesis("wider", key(1))
    honest = swarm.trial(hypothesis, key(2), 0, GAIN).body
    assert isinstance(honest, Trial)
    swarm.rows.pop()
    forged = Trial(
        **{name: getattr(honest, name) for name in honest.__slots__ if name != "seed"},
        seed=honest.seed ^ 1,
    )
    swarm.record(forged, key(2))
    stolen = Trial(
        **{name: getattr(honest, name) for name in honest.__slots__ if name != "pair"}, pair=1
    )
    swarm.record(stolen, key(2))
    found = faults(audit_home(swarm.write(tmp_path / "home")))
    assert any("does not follow from its proof" in text for text in found)
    assert any("is not its signer's" in text for text in found)


def test_a_script_that_is_missing_or_changed_is_a_fault(tmp_path: Path) -> None:
    swarm = two_entries()
    home = swarm.write(tmp_path / "home")
    from node.blobs import BlobStore

    blobs = BlobStore(home.blobs)
    deeper = next(
        entry for entry in swarm.ledger(*_records(swarm)).lineage() if entry.title == "deeper"
    )
    path = blobs.path(deeper.source)
    path.write_text("something else")
    assert any("does not match its name" in text for text in faults(audit_home(home)))
    path.unlink()
    assert any("is missing here" in text for text in faults(audit_home(home)))


def _records(swarm: ScriptedSwarm) -> list[Record]:
    from protocol.envelope import open_envelope

    return [open_envelope(row[2], swarm=swarm.id) for row in swarm.rows[1:]]


def test_the_genesis_must_be_the_one_the_home_is_bound_to(tmp_path: Path) -> None:
    swarm = two_entries()
    swarm.rows.pop(0)
    assert faults(audit_home(swarm.write(tmp_path / "one")))[-1].startswith("the genesis record")
    other = ScriptedSwarm(clock_ms=7)
    other.rows.append(
        (swarm.genesis.id, 1_000_000, seal(
            swarm.genesis.body, key=key(0), swarm=None, created_ms=1_000_000
        ))
    )  # fmt: skip
    assert faults(audit_home(other.write(tmp_path / "two"))) != []


def test_a_home_without_a_swarm(tmp_path: Path) -> None:
    from node.errors import NotRunningError

    with pytest.raises(NotRunningError):
        audit_home(Home(tmp_path))
