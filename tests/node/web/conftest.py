"""Fixtures of the page's tests."""

import pytest

from node.web import service as web_service


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a person's patience."""
    monkeypatch.setattr(web_service, "_TICK_S", 0.02)
    monkeypatch.setattr(web_service, "_RETRY_S", 0.02)
