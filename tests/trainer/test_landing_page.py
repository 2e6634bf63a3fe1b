"""The landing page's judge: one population a seed, preferences that no agent sees, firm rules."""

from __future__ import annotations

import json
import statistics

import pytest

from tests.trainer.landing import DIRECTORY, JUDGE, SOURCE, TASK, changed, rate
from trainer.checking import check_directory

BETTER = [
    ('headline = "Welcome to Almond"', 'headline = "Know by Friday what you earned this week"'),
    ("form_fields = 6", "form_fields = 2"),
    ("price_shown = false", "price_shown = true"),
    ('sender = "Almond"', 'sender = "Mira from Almond"'),
    ("Our solution integrates best-in-class processes.\n\n", ""),
]
WORSE = [
    ("form_fields = 6", "form_fields = 12"),
    ('button = "Submit"', 'button = "Register for the platform now"'),
    ('subject = "Newsletter 11/2026: product update"', 'subject = "LAST CHANCE!!! Our platform"'),
]


def test_the_task_is_valid_and_its_judge_fixed() -> None:
    assert check_directory(DIRECTORY) == []
    assert (TASK.scorer, TASK.editable) == ("trusted", ("email.md", "variants.toml"))
    assert TASK.manifest.run == ("judge.py",)
    assert (TASK.metric.name, TASK.metric.direction) == ("response_rate", "max")


def test_what_visitors_like_is_in_no_file_that_agents_are_shown() -> None:
    hidden = json.loads((DIRECTORY / "visitors.json").read_text())
    shown = SOURCE + TASK.files["program.md"].decode()
    likes = {name for segment in hidden["segments"] for name in segment["likes"] if "_" in name}
    assert {name for name in likes if name in shown} == {"price_shown"}  # a key of the page
    assert "visitors.json" not in TASK.files


def test_a_seed_is_one_population_in_one_mood() -> None:
    assert rate(SOURCE, 1) == rate(SOURCE, 1)
    assert len({rate(SOURCE, seed) for seed in range(5)}) > 3
    # Pairs meet the same people, so that a difference is far less noisy than a rate.
    other = changed("price_shown = false", "price_shown = true")
    rates = [rate(SOURCE, seed) for seed in range(8)]
    gains = [rate(other, seed) - before for seed, before in enumerate(rates)]
    assert min(gains) > 0
    assert statistics.stdev(gains) < statistics.stdev(rates)


@pytest.mark.parametrize(("old", "new"), BETTER)
def test_what_speaks_to_visitors_is_better(old: str, new: str) -> None:
    better = changed(old, new)
    assert all(rate(better, seed) > rate(SOURCE, seed) for seed in range(3))


@pytest.mark.parametrize(("old", "new"), WORSE)
def test_what_puts_visitors_off_is_worse(old: str, new: str) -> None:
    worse = changed(old, new)
    assert all(rate(worse, seed) < rate(SOURCE, seed) for seed in range(3))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("testimonial = false", "", "must keep its keys"),
        ("testimonial = false", "testimonial = false\nmore = 1", "must keep its keys"),
        ("testimonial = false", "testimonial = 1", "page.testimonial must be true or false"),
        ("form_fields = 6", "form_fields = 0", "from 1 to 12"),
        ("form_fields = 6", "form_fields = true", "from 1 to 12"),
        ('button = "Submit"', 'button = ""', "page.button must be a text"),
        ('button = "Submit"', f'button = "{"you " * 30}"', "at most 40 characters"),
        ('photo = "none"', 'photo = "cat"', "one of none, people, screenshot"),
        ("\nDiscover our platform: {{link}}", "\nDiscover our platform.", "exactly once"),
        ("\nThe Almond team\n<!--", "\n{{link}}\n<!--", "exactly once"),
        ("[email]", "[mail]", "tables page and email"),
    ],
)
def test_a_page_against_the_rules_is_an_error(old: str, new: str, message: str) -> None:
    with pytest.raises(JUDGE.InvalidPageError, match=message):
        rate(SOURCE.replace(old, new, 1), 1, 100)
