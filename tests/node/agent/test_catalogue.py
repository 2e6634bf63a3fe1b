"""Every edit gives a script that the trainer can run; stacks of them too; peers' text is inert."""

import random
import re
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.agent.catalogue import (
    STRUCTURAL,
    Edit,
    NotApplicableError,
    Script,
    apply_edits,
    bundle_change,
    constant_edits,
    find_edits,
)
from node.agent.catalogue.constants import CONSTANTS, STEPS, doublings, parse_assignment
from node.agent.proposal import RATIONALE_CHARS_MAX, TITLE_CHARS_MAX
from protocol import limits
from swarm.source import check_source, source_digest
from tests.node.agent.scripts import SOURCE, TinyRun, execute, small

GENESIS = Script.parse(SOURCE)
WIDEST = len(STEPS) - 1
# LayerNorm is what the first script has; its edit is for scripts that left it.
ALTERNATIVE = {"norm:layernorm": "norm:rmsnorm"}


def script_for(change: str) -> Script:
    """Returns a script that has a place for a change."""
    before = ALTERNATIVE.get(change)
    return STRUCTURAL[before].apply(GENESIS) if before else GENESIS


@pytest.mark.parametrize("change", STRUCTURAL)
def test_every_structural_edit_runs_and_changes_the_script(change: str) -> None:
    script = script_for(change)
    changed = STRUCTURAL[change].apply(script)
    check_source(changed.code, script.code)
    assert source_digest(changed.code) != source_digest(script.code)
    assert Script.parse(changed.code).code == changed.code
    run, model = execute(small(changed).code)
    # Pairs share their random numbers only if each parameter draws from its own generator.
    drawn = {name for name, weight in model.named_parameters() if weight.dim() >= 2}
    assert drawn == set(run.names)
    assert len(run.names) == len(set(run.names))


@pytest.mark.parametrize("change", STRUCTURAL)
def test_an_edit_is_never_applied_twice(change: str) -> None:
    changed = STRUCTURAL[change].apply(script_for(change))
    with pytest.raises(NotApplicableError):
        STRUCTURAL[change].apply(changed)


def test_every_step_of_every_constant_is_a_script_of_its_own() -> None:
    edits = list(constant_edits(GENESIS, WIDEST))
    digests = {source_digest(edit.apply(GENESIS).code) for edit in edits}
    assert len(digests) == len(edits)
    assert source_digest(SOURCE) not in digests
    stepped = {edit.change.split("=")[0] for edit in edits}
    assert stepped == set(GENESIS.constants())
    for name in stepped:
        assert sum(edit.change.startswith(f"{name}=") for edit in edits) >= 3


def test_steps_of_constants_that_shape_the_model_run() -> None:
    shaping = ("N_LAYER", "D_MODEL", "N_HEAD", "MLP_RATIO", "TRAIN_CONTEXT", "BATCH_SIZE")
    tiny = small(GENESIS)
    changes = [edit for edit in constant_edits(tiny, 1) if edit.change.split("=")[0] in shaping]
    assert len(changes) > 15
    for edit in changes:
        execute(edit.apply(tiny).code)


def test_constants_stay_in_their_bounds_and_keep_their_comments() -> None:
    script = GENESIS
    rng = random.Random(5)
    for _ in range(60):
        script = rng.choice(list(constant_edits(script, WIDEST))).apply(script)
        for name, value in script.constants().items():
            assert value == 0 or CONSTANTS[name].low <= value <= CONSTANTS[name].high
        width, heads = script.constants()["D_MODEL"], script.constants()["N_HEAD"]
        assert width % (2 * heads) == 0
    assert "# largest gradient norm" in script.code
    assert re.findall(r"^# The \w+$", script.code, re.MULTILINE) == [
        "# The model",
        "# The training",
    ]


def test_edits_bring_their_constants_to_the_top_where_they_can_be_tuned() -> None:
    script = apply_edits(GENESIS, find_edits("optimizer:muon + positions:rope"))
    assert isinstance(script, Script)
    first_function = script.code.index("\ndef ")
    for name in ("MUON_RATE", "MUON_MOMENTUM", "MUON_STEPS", "ROPE_BASE"):
        assert script.code.index(f"\n{name} = ") < first_function
        assert any(edit.change.startswith(name) for edit in constant_edits(script, 0))


def test_a_constant_that_another_peer_brought_is_stepped_too() -> None:
    script = Script.parse(SOURCE.replace("GRAD_CLIP = 0.0", "THEIR_OWN = 0.3\nGRAD_CLIP = 0.0"))
    values = [e.change for e in constant_edits(script, 0) if e.change.startswith("THEIR_OWN")]
    assert values == ["THEIR_OWN=0.6", "THEIR_OWN=0.15"]


@pytest.mark.parametrize("change", ["optimizer:no_decay", "optimizer:embedding_rate"])
@pytest.mark.parametrize("before", ["", "optimizer:muon"])
def test_every_parameter_is_trained_once_whatever_the_groups(before: str, change: str) -> None:
    script = apply_edits(GENESIS, [*find_edits(before), *find_edits(change)])
    module = types.ModuleType("script")
    exec(script.code, module.__dict__)  # noqa: S102 - our own edits
    model = module.build_model(TinyRun())
    groups = module.make_optimizer(model).param_groups
    trained = sorted(id(p) for group in groups for p in group["params"])
    assert trained == sorted(id(p) for p in model.parameters())


def test_parallel_branches_keep_what_others_put_into_them() -> None:
    script = apply_edits(GENESIS, find_edits("block:parallel + mlp:shift"))
    assert "self.mlp(shift(self.norm2(x)))" in script.code
    shifted = apply_edits(GENESIS, find_edits("mlp:shift"))
    both = apply_edits(shifted, find_edits("block:parallel"))
    assert "x + self.attention(self.norm1(x)) + self.mlp(shift(self.norm2(x)))" in both.code


def applicable(script: Script) -> list[Edit]:
    found = []
    for edit in STRUCTURAL.values():
        try:
            edit.apply(script)
        except NotApplicableError:
            continue
        found.append(edit)
    return found


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32))
def test_stacks_of_six_in_any_order_run(seed: int) -> None:
    rng = random.Random(seed)
    script = GENESIS
    for _ in range(6):
        names = list(STRUCTURAL)
        rng.shuffle(names)
        step = list(constant_edits(script, 0))
        candidates = [STRUCTURAL[name] for name in names]
        if rng.random() < 0.3:
            candidates.insert(0, rng.choice(step))
        for edit in candidates:
            try:
                changed = edit.apply(script)
            except NotApplicableError:
                continue
            check_source(changed.code, script.code)
            assert source_digest(changed.code) != source_digest(script.code)
            script = changed
            break
    run, model = execute(small(script).code)
    assert {n for n, w in model.named_parameters() if w.dim() >= 2} == set(run.names)


def test_half_of_the_catalogue_applies_after_ten_other_edits() -> None:
    rng = random.Random(11)
    script = GENESIS
    for _ in range(10):
        script = rng.choice(applicable(script)).apply(script)
    assert len(applicable(script)) >= len(STRUCTURAL) // 3


def test_places_are_found_by_structure_not_by_text() -> None:
    respaced = (
        SOURCE.replace("self.attention(self.norm1(x))", "self.attention( self.norm1( x ) )")
        .replace("0.0, INIT_STD, generator", "0.0,\n INIT_STD,\n generator")
        .replace('"""Last say on', '"""Another text about')
        .replace("    return F.gelu(x)", "    # smooth\n    y = F.gelu(x)\n    return y")
    )
    script = Script.parse(respaced)
    for change in STRUCTURAL:
        if change not in ALTERNATIVE:
            check_source(STRUCTURAL[change].apply(script).code, respaced)


def test_a_script_without_the_places_is_left_alone() -> None:
    bare = Script.parse(
        "def build_model(run):\n    return 1\n\n\ndef train(run, model):\n    pass\n"
    )
    assert applicable(bare) == []
    assert list(constant_edits(bare, WIDEST)) == []


def test_bundles_name_their_edits_in_one_order() -> None:
    edits = find_edits("positions:rope + LEARNING_RATE=0.002 + norm:rmsnorm")
    assert bundle_change(edits) == bundle_change(edits[::-1])
    assert find_edits(bundle_change(edits))
    assert apply_edits(GENESIS, edits).code == apply_edits(GENESIS, edits[::-1]).code
    with_new_constant = find_edits("ROPE_BASE=100.0 + positions:rope")
    assert apply_edits(GENESIS, with_new_constant).constants()["ROPE_BASE"] == 100.0


@pytest.mark.parametrize(
    "change",
    [
        "",
        "norm",
        "norm:rmsnorm + ",
        "norm:rmsnorm + x",
        " + ".join(["norm:rmsnorm"] * 4),
        "LEARNING_RATE=",
        "LEARNING_RATE=1e999",
        "LEARNING_RATE=nan",
        "LEARNING_RATE=1_0",
        "LEARNING_RATE=1.2.3",
        "LEARNING_RATE=__import__('os')",
        "LEARNING_RATE=0.1\nimport os",
        "learning_rate=0.1",
        "X=" + "9" * 400,
        "X" * 400,
        "LEARNING_RATE=0.002 + \0",
    ],
)
def test_changes_that_peers_made_up_name_nothing(change: str) -> None:
    assert find_edits(change) == ()


@given(st.text(max_size=400))
def test_any_text_of_a_peer_is_harmless(text: str) -> None:
    for change in (text, f"LEARNING_RATE={text}", f"norm:rmsnorm + {text}"):
        for edit in find_edits(change):
            assert edit.change in change or parse_assignment(change) is not None


def test_a_peers_value_out_of_bounds_does_not_apply() -> None:
    for change in ("LEARNING_RATE=100.0", "D_MODEL=100000", "D_MODEL=63", "NO_SUCH=1", "N_HEAD=3"):
        (edit,) = find_edits(change)
        with pytest.raises(NotApplicableError):
            edit.apply(GENESIS)


def test_a_value_has_a_place_on_the_scale_of_its_constant() -> None:
    def apart(name: str, a: float, b: float) -> float:
        one, other = doublings(name, a), doublings(name, b)
        assert one is not None
        assert other is not None
        return other - one

    assert apart("LEARNING_RATE", 0.001, 0.004) == pytest.approx(2.0)
    assert apart("BETA1", 0.9, 0.95) == pytest.approx(1.0)
    assert apart("BETA2", 0.999, 0.999) == 0.0
    assert doublings("GRAD_CLIP", 0.0) is None
    assert doublings("BETA1", 1.0) is None


def test_texts_are_bounded_plain_and_honest() -> None:
    edits = [*STRUCTURAL.values(), *constant_edits(GENESIS, WIDEST)]
    for edit in edits:
        assert 0 < len(edit.title) <= TITLE_CHARS_MAX
        assert 60 < len(edit.rationale) <= RATIONALE_CHARS_MAX
        for text in (edit.title, edit.rationale, edit.expected_effect, edit.change, edit.kind):
            assert text
            assert text.isprintable()
        assert len(edit.change.encode()) <= limits.CHANGE_BYTES_MAX
