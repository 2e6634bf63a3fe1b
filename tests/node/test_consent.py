"""Consent to macOS's weaker sandbox: asked for once, kept, and never assumed."""

from pathlib import Path

import pytest

from node.cli.consent import settle_sandbox
from node.config import make_config, read_config
from node.errors import ConfigError
from node.sandbox import SandboxUnavailableError, select_sandbox


class Person:
    """Answers questions, or is not there."""

    def __init__(self, answer: bool | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def __call__(self, question: str) -> bool | None:
        self.asked.append(question)
        return self.answer


def settle(config: Path, person: Person, *, accepted: bool = False) -> str | None:
    return settle_sandbox(None, config, accepted=accepted, platform="darwin", ask=person)


def test_a_yes_is_asked_for_once_and_kept(tmp_path: Path) -> None:
    config = tmp_path / "home" / "config.toml"
    person = Person(answer=True)
    assert settle(config, person) == "seatbelt"
    assert "weaker" in person.asked[0]
    assert make_config(config, {"sandbox": settle(config, person)}).sandbox == "seatbelt"
    assert len(person.asked) == 1


@pytest.mark.parametrize("answer", [False, None])
def test_a_no_or_nobody_there_leaves_it_and_the_node_runs_nobodys_code(
    tmp_path: Path, *, answer: bool | None
) -> None:
    config = tmp_path / "config.toml"
    assert settle(config, Person(answer)) is None
    assert not config.exists()
    preference = make_config(config, {"sandbox": None}).sandbox
    with pytest.raises(SandboxUnavailableError, match="accept-weaker-sandbox"):
        select_sandbox(preference, platform="darwin")


def test_the_flag_is_a_yes_without_a_question(tmp_path: Path) -> None:
    person = Person(answer=False)
    assert settle(tmp_path / "config.toml", person, accepted=True) == "seatbelt"
    assert person.asked == []


def test_other_settings_are_left_as_they_are(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('# mine\nworkers = 2\nsandbox = "auto"  # once\n', encoding="ascii")
    person = Person(answer=True)
    assert settle(config, person) is None, "a person who chose is not asked"
    config.write_text("# mine\nworkers = 2\n", encoding="ascii")
    assert settle(config, person) == "seatbelt"
    assert read_config(config) == {"workers": 2, "sandbox": "seatbelt"}
    assert "# mine" in config.read_text(encoding="ascii")


def test_a_yes_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot"):
        settle(tmp_path / "file" / "config.toml", Person(answer=True))


def test_elsewhere_nobody_is_asked(tmp_path: Path) -> None:
    person = Person(answer=True)
    chosen = settle_sandbox(None, tmp_path / "c", accepted=False, platform="linux", ask=person)
    assert chosen is None
    assert person.asked == []
    chosen = settle_sandbox(None, tmp_path / "c", accepted=True, platform="linux", ask=person)
    with pytest.raises(SandboxUnavailableError, match="Linux has better ones"):
        select_sandbox(chosen or "auto", platform="linux")
