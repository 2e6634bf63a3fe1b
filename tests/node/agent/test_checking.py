import random
from collections.abc import Sequence

import pytest

from node.agent.checking import ASKS_MAX, check_proposal, find_proposal, move
from node.agent.edits import REPLACEMENTS_MAX, apply_replacements
from node.agent.proposal import Proposal, RejectedError, Rejection, Replacement, ResearchView
from swarm.source import source_digest

HEAD = "RATE = 1\n\n\ndef build_model(run):\n    pass\n\n\ndef train(run, model):\n    pass\n"
FASTER = HEAD.replace("RATE = 1", "RATE = 2")


def view(source: str = HEAD, tried: Sequence[str] = (), claims: Sequence[str] = ()) -> ResearchView:
    return ResearchView(
        bytes(32),
        source,
        frozenset(source_digest(item) for item in tried),
        frozenset(source_digest(item) for item in claims),
        (),
        ("build_model", "train"),
    )


def proposal(source: str = FASTER, **changes: object) -> Proposal:
    values = {
        "title": "faster",
        "rationale": "it is slow",
        "expected_effect": "faster",
        "kind": "rate",
        "change": "RATE=2",
        "source": source,
        "proposer": "claude",
        "replacements": (Replacement("RATE = 1", "RATE = 2"),),
        "answer": "what I said",
    }
    return Proposal(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ([], "between 1 and"),
        ([("x", "y")] * (REPLACEMENTS_MAX + 1), "between 1 and"),
        ([("", "y")], "occurs nowhere"),
        ([("RATE = 7", "RATE = 2")], "occurs nowhere"),
        ([("    pass", "    return")], "more than once"),
        ([("RATE = 1\n", "RATE = 2\n"), ("= 1", "= 3")], "same place"),
        ([("RATE = 1", "RATE = 1")], "change nothing"),
        # What an edit has written is no place for another one.
        ([("RATE = 1", "RATE = 2"), ("RATE = 2", "RATE = 3")], "occurs nowhere"),
    ],
)
def test_edits_that_do_not_fit_are_refused_with_the_reason(
    edits: list[tuple[str, str]], reason: str
) -> None:
    with pytest.raises(RejectedError, match=reason):
        apply_replacements(HEAD, [Replacement(*edit) for edit in edits])


def test_edits_are_applied_where_they_match_and_overlapping_matches_count() -> None:
    edits = [Replacement("train(run, model):\n    pass", "train(run, model):\n    return")]
    edits.append(Replacement("RATE = 1", "RATE = 2"))
    assert apply_replacements(HEAD, edits) == FASTER[:-5] + "return\n"
    with pytest.raises(RejectedError, match="more than once"):
        apply_replacements("aaa", [Replacement("aa", "b")])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (HEAD, "means nothing"),
        ("# louder\n" + HEAD, "means nothing"),
        (FASTER + "(", "not valid Python"),
        (FASTER.replace("def train", "def try_it"), "does not define train"),
        (FASTER + "".join(f"A{i} = {i}\n" for i in range(900)), "grows by over"),
        (FASTER + "x = '" + "y" * 40_000 + "'\n", "literal"),
    ],
)
def test_a_script_that_may_not_run_is_refused_before_it_does(source: str, reason: str) -> None:
    with pytest.raises(RejectedError, match=reason):
        check_proposal(proposal(source), view())


def test_what_was_tried_or_is_being_run_is_refused_in_any_spelling() -> None:
    assert check_proposal(proposal(), view()).digest == source_digest(FASTER)
    respelled = FASTER.replace("RATE = 2", "RATE  =  0x2  # two")
    with pytest.raises(RejectedError, match="has been tried"):
        check_proposal(proposal(respelled), view(tried=[FASTER]))
    with pytest.raises(RejectedError, match="a peer is running"):
        check_proposal(proposal(respelled), view(claims=[FASTER]))


def test_a_proposal_moves_to_a_new_head_where_its_edits_fit() -> None:
    other = HEAD.replace("    pass\n\n\ndef train", "    return None\n\n\ndef train")
    moved = move(proposal(), view(other))
    assert moved.proposal.source == other.replace("RATE = 1", "RATE = 2")
    with pytest.raises(RejectedError, match="occurs nowhere"):
        move(proposal(), view(FASTER))


class Scripted:
    """Answers from a list, and keeps what it was told."""

    def __init__(self, *answers: Proposal | RejectedError | None) -> None:
        self.answers = list(answers)
        self.told: list[Rejection | None] = []

    async def propose(
        self, view: ResearchView, rng: random.Random, rejection: Rejection | None = None
    ) -> Proposal | None:
        self.told.append(rejection)
        answer = self.answers.pop(0)
        if isinstance(answer, RejectedError):
            raise answer
        return answer


async def find(proposer: Scripted, smokes: list[str | None]) -> tuple[str, list[str]]:
    async def smoke(_proposal: Proposal) -> str | None:
        return smokes.pop(0)

    news: list[str] = []
    found = await find_proposal(proposer, view(), random.Random(0), smoke, news.append)
    return ("" if found is None else found.proposal.title), news


async def test_what_fails_goes_back_with_the_reason_and_the_answer() -> None:
    broken = proposal(FASTER + "(", title="broken")
    proposer = Scripted(RejectedError("it fits nowhere", "my edits"), broken, proposal())
    assert await find(proposer, [None]) == (
        "faster",
        [
            "rejected: it fits nowhere",
            "proposal “broken” rejected: the script is not valid Python",
        ],
    )
    assert proposer.told == [
        None,
        Rejection("it fits nowhere", 1, "my edits"),
        Rejection("the script is not valid Python", 2, "what I said"),
    ]


async def test_a_crash_within_a_few_steps_spares_the_full_run() -> None:
    slower = proposal(HEAD.replace("RATE = 1", "RATE = 0"), title="slower")
    proposer = Scripted(proposal(), slower)
    title, news = await find(proposer, ["a run of a few steps ended as crashed", None])
    assert title == "slower"
    assert news == ["proposal “faster” rejected: a run of a few steps ended as crashed"]


async def test_the_questions_end() -> None:
    proposer = Scripted(*[proposal()] * (ASKS_MAX + 1))
    assert (await find(proposer, ["crashed"] * ASKS_MAX))[0] == ""
    assert len(proposer.told) == ASKS_MAX


async def test_the_offline_search_needs_no_smoke_run() -> None:
    assert (await find(Scripted(proposal(proposer="offline")), []))[0] == "faster"
    assert await find(Scripted(None), []) == ("", [])
