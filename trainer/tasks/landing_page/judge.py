"""The judge of the landing page: a seeded population answers, and the rate of it is printed.

It reads what agents edit as data and runs none of it. What visitors like stands in visitors.json,
which no agent is shown; the same seed gives the same visitors with the same moods, so that two
versions of the page meet the same people. A page or an e-mail that breaks the rules of program.md
is an error, not a bad rate.
"""

import json
import math
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TEXTS = {
    "page": {"headline": 90, "subline": 160, "button": 40, "photo": 20, "layout": 20},
    "email": {"subject": 90, "sender": 40},
}
CHOICES = {"photo": ("none", "people", "screenshot"), "layout": ("wide", "narrow")}
NUMBERS = {"form_fields": (1, 12), "trial_days": (0, 90)}
FLAGS = ("testimonial", "price_shown")
EMAIL_CHARS_MAX = 3000

JARGON = {
    "platform", "solution", "synergetic", "integrates", "best", "class", "leaders", "discover",
    "improvements", "processes", "modern", "businesses", "sector", "hospitality",
}  # fmt: skip
PLAIN = {
    "photo", "receipt", "evening", "sunday", "books", "earned", "profit", "week", "free", "day",
    "minutes", "café", "café's",
}  # fmt: skip
INVITING = {"start", "see", "try", "get", "open", "show", "have", "know"}


class InvalidPageError(Exception):
    """What agents made of the files is no page or no e-mail."""


def read(name: str) -> str:
    """The text of an edited file: given by the worker, or a file beside this one."""
    try:
        import swarm_files  # type: ignore[import-not-found]
    except ImportError:
        return Path(name).read_text(encoding="utf-8")
    return str(swarm_files.read(name))


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower().replace("’", "'"))


def near(value: float, best: float, width: float) -> float:
    return math.exp(-(((value - best) / width) ** 2))


def check(values: dict[str, Any], email: str) -> None:
    """Raises InvalidPageError unless every variable is there and within its bounds."""
    page = values.get("page")
    mail = values.get("email")
    if not isinstance(page, dict) or not isinstance(mail, dict) or set(values) != {"page", "email"}:
        raise InvalidPageError("variants.toml must have the tables page and email, and no others")
    if set(page) != {*TEXTS["page"], *NUMBERS, *FLAGS} or set(mail) != set(TEXTS["email"]):
        raise InvalidPageError("variants.toml must keep its keys, and no others")
    for table, limits in TEXTS.items():
        for key, most in limits.items():
            text = values[table][key]
            if not isinstance(text, str) or not 0 < len(text.strip()) <= most:
                raise InvalidPageError(f"{table}.{key} must be a text of at most {most} characters")
            if key in CHOICES and text not in CHOICES[key]:
                raise InvalidPageError(f"{table}.{key} must be one of {', '.join(CHOICES[key])}")
    for key, (low, high) in NUMBERS.items():
        if type(page[key]) is not int or not low <= page[key] <= high:
            raise InvalidPageError(f"page.{key} must be a whole number from {low} to {high}")
    for key in FLAGS:
        if not isinstance(page[key], bool):
            raise InvalidPageError(f"page.{key} must be true or false")
    if not 0 < len(email) <= EMAIL_CHARS_MAX or email.count("{{link}}") != 1:
        raise InvalidPageError("email.md must be short and hold {{link}} exactly once")


def page_features(page: dict[str, Any]) -> dict[str, float]:
    text = words(f"{page['headline']} {page['subline']}")
    button = words(page["button"])
    every = text + button
    return {
        "headline_length": near(len(words(page["headline"])), 8, 4),
        "addresses_reader": float(bool({"you", "your"} & set(text))),
        "number": float(any(word.isdigit() for word in text)),
        "button_length": near(len(button), 3, 1.5),
        "button_invites": float(bool(button) and button[0] in INVITING),
        "few_fields": 1 - math.log2(page["form_fields"]) / 2,
        "testimonial": float(page["testimonial"]),
        "photo_people": float(page["photo"] == "people"),
        "photo_screenshot": float(page["photo"] == "screenshot"),
        "narrow": float(page["layout"] == "narrow"),
        "price_shown": float(page["price_shown"]),
        "trial": near(math.log2(page["trial_days"] + 1), 5, 2),
        "shouts": float("!" in page["headline"] or page["headline"].isupper()),
        "jargon": min(1.0, sum(word in JARGON for word in every) / 3),
        "plain_words": min(1.0, sum(word in PLAIN for word in every) / 3),
    }


def subject_features(mail: dict[str, Any]) -> dict[str, float]:
    subject = words(mail["subject"])
    return {
        "subject_length": near(len(subject), 6, 3),
        "subject_asks": float(mail["subject"].rstrip().endswith("?")),
        "addresses_reader": float(bool({"you", "your"} & set(subject))),
        "sender_person": float(" from " in mail["sender"]),
        "shouts": float("!" in mail["subject"]),
        "jargon": min(1.0, sum(word in JARGON for word in subject) / 2),
        "plain_words": min(1.0, sum(word in PLAIN for word in subject) / 2),
    }


def body_features(email: str) -> dict[str, float]:
    body = words(email)
    link = next(line for line in email.split("\n") if "{{link}}" in line)
    return {
        "body_length": near(len(body), 45, 30),
        "greets_by_name": float("{{name}}" in email),
        "addresses_reader": float(bool({"you", "your"} & set(body))),
        "link_invites": float(bool(set(words(link)[:1]) & INVITING)),
        "shouts": float("!" in email),
        "jargon": min(1.0, sum(word in JARGON for word in body) / 5),
        "plain_words": min(1.0, sum(word in PLAIN for word in body) / 5),
    }


def response_rate(values: dict[str, Any], email: str, visitors: dict[str, Any], seed: int) -> float:
    """Shares of visitors who press the button, given what each of them likes."""
    check(values, email)
    rng = np.random.default_rng(seed)
    count = int(visitors["visitors"])
    segments = visitors["segments"]
    likes = sorted(segments[0]["likes"])
    # All is drawn before anything depends on the page, so that two pages meet one population.
    kind = rng.choice(len(segments), size=count, p=[segment["share"] for segment in segments])
    means = np.array([[segment["likes"][name] for name in likes] for segment in segments])
    weights = means[kind] + rng.normal(0.0, visitors["spread"], (count, len(likes)))
    moods = rng.uniform(size=(count, 3))
    by_mail = rng.uniform(size=count) < visitors["email_share"]

    def says_yes(step: str, features: dict[str, float], mood: int) -> npt.NDArray[np.bool_]:
        base = np.array([segment[step] for segment in segments])[kind]
        vector = np.array([features.get(name, 0.0) for name in likes])
        chance = 1 / (1 + np.exp(-(base + weights @ vector)))
        answer: npt.NDArray[np.bool_] = moods[:, mood] < chance
        return answer

    opens = says_yes("open", subject_features(values["email"]), 0)
    comes = says_yes("click", body_features(email), 1)
    presses = says_yes("respond", page_features(values["page"]), 2)
    return float(np.mean(presses & (~by_mail | (opens & comes))))


def main() -> None:
    values = tomllib.loads(read("variants.toml"))
    email = re.sub(r"<!--.*?-->", "", read("email.md"), flags=re.DOTALL).strip()
    visitors = json.loads(Path("visitors.json").read_text(encoding="utf-8"))
    seed = int(os.environ.get("SWARM_SEED", "0"))
    try:
        rate = response_rate(values, email, visitors, seed)
    except InvalidPageError as error:
        sys.exit(str(error))
    sys.stdout.write(f"response_rate: {rate:.6f}\n")


if __name__ == "__main__":
    main()
