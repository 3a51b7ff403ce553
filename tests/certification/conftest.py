"""Quick searches: nothing in these tests depends on a tight lower bound."""

import pytest


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("netgain.gain.lower._WORK", 2e5, raising=False)
