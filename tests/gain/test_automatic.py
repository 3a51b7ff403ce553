"""The automatic choice: order, what is left out and why, and what an interrupt leaves."""

import dataclasses
from collections.abc import Mapping

import pytest

from netgain.core.errors import NoSoundRuleError, UsageError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.results import Bound, Estimate, Side
from netgain.gain import automatic, methods
from netgain.gain.layers import LayerGain
from netgain.gain.lipschitz import Effort, analyse
from netgain.gain.methods import METHODS, Entry, applicable
from netgain.gain.product import upper
from netgain.gain.result import GainBound, InterruptedSearchError
from netgain.network.fold import fold
from netgain.network.graph import Network
from tests.gain.networks import convolutional, mlp

NET = mlp(0, 3, 6, 5, 2)


@dataclasses.dataclass(frozen=True)
class Fake:
    """A method that returns a number, or raises."""

    name: str
    value: float
    gap: float | None = None
    raises: BaseException | None = None

    def __call__(
        self,
        network: Network,
        norm: Norm,
        layers: Mapping[str, LayerGain],
        *,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> GainBound:
        if self.raises is not None:
            raise self.raises
        gap = None if self.gap is None else Estimate(value=self.gap, quantity="gap", method="fake")
        return GainBound(upper(self.value, norm, self.name), gap=gap, steps=7)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch):
    """A small search for the lower bound; nothing here depends on it."""
    monkeypatch.setattr("netgain.gain.lower._WORK", 2e5, raising=False)


def offer(monkeypatch: pytest.MonkeyPatch, *fakes: tuple[Fake, float, int]) -> None:
    """Let these be the methods beside the product, cheapest first."""
    entries = [(fake.name, entry(fake, work, rank)) for fake, work, rank in fakes]
    monkeypatch.setattr(automatic, "applicable", lambda network, norm: (("product", METHODS["product"]), *entries))


def entry(fake: Fake, work: float, rank: int) -> Entry:
    return Entry(make=lambda part: fake, work=lambda network: work, rank=rank)


def big(value: float) -> float:
    """A number above the lower bound of NET, so that methods go on."""
    return 1e6 * value


def notes(found) -> dict[str, str]:
    return {run.name: run.note for run in found.runs}


def test_the_tightest_is_kept_and_every_method_is_in_the_table(monkeypatch: pytest.MonkeyPatch):
    offer(monkeypatch, (Fake("one", big(3)), 1, 0), (Fake("two", big(2)), 2, 0))
    found = analyse(NET)
    assert [run.name for run in found.runs] == ["product", "one", "two"]
    assert [run.steps for run in found.runs] == [0, 7, 7]
    assert [bound.bound.method for bound in found.bounds] == ["product", "two", "one"]
    assert not found.interrupted


def test_a_method_that_has_reached_the_optimum_spares_its_kind(monkeypatch: pytest.MonkeyPatch):
    offer(
        monkeypatch,
        (Fake("one", big(3), gap=1e-3), 1, 1),
        (Fake("two", big(2), gap=1e-7), 2, 2),
        (Fake("three", big(1)), 3, 1),
        (Fake("four", big(1)), 4, 0),
    )
    found = analyse(NET)
    assert notes(found)["three"] == "not needed: two has reached the least bound of this kind"
    assert [run.name for run in found.runs if run.bound is not None] == ["product", "one", "two", "four"]


def test_methods_that_do_not_apply_say_why(monkeypatch: pytest.MonkeyPatch):
    offer(monkeypatch, (Fake("one", 0, raises=NoSoundRuleError("one has no rule for cubes")), 1, 0))
    found = analyse(NET)
    assert notes(found)["one"] == "one has no rule for cubes"
    assert found.enclosure.upper.method == "product"


def test_what_will_not_finish_is_left_out(monkeypatch: pytest.MonkeyPatch):
    offer(monkeypatch, (Fake("huge", big(1)), 1e16, 0))
    assert "give a time" in notes(analyse(NET))["huge"]
    assert "left out: needs about" in notes(analyse(NET, effort=Effort(seconds=1.0)))["huge"]


def test_nothing_more_is_tried_once_both_sides_meet(monkeypatch: pytest.MonkeyPatch):
    exact = mlp(0, 1, 1, 1)
    offer(monkeypatch, (Fake("one", big(1)), 1, 0))
    found = analyse(exact)
    assert found.enclosure.ratio < 1 + 1e-9
    assert notes(found)["one"].startswith("not needed")


def test_an_interrupt_keeps_what_is_proved(monkeypatch: pytest.MonkeyPatch):
    offer(
        monkeypatch,
        (Fake("one", big(3)), 1, 0),
        (Fake("two", 0, raises=KeyboardInterrupt()), 2, 0),
        (Fake("three", big(1)), 3, 0),
    )
    found = analyse(NET)
    assert found.interrupted
    assert [(run.name, run.note) for run in found.runs] == [("product", ""), ("one", ""), ("two", "interrupted")]
    assert found.enclosure.lower.value <= found.enclosure.upper.value


def test_an_interrupted_method_hands_over_its_best(monkeypatch: pytest.MonkeyPatch):
    best = GainBound(upper(big(2), Norm.L2, "two"))
    offer(monkeypatch, (Fake("two", 0, raises=InterruptedSearchError(best)), 2, 0))
    found = analyse(NET)
    assert found.interrupted
    assert best in found.bounds
    assert notes(found)["two"] == "interrupted"


def test_an_interrupt_of_the_lower_bound_leaves_zero(monkeypatch: pytest.MonkeyPatch):
    def stop(*given: object, **options: object) -> Bound:
        raise KeyboardInterrupt

    monkeypatch.setattr("netgain.gain.lower.Ascent.__call__", stop)
    found = analyse(NET)
    assert found.interrupted
    assert found.enclosure.lower.value == 0.0
    assert found.enclosure.lower.side is Side.LOWER
    assert found.enclosure.upper.method == "product"


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", [name for name in methods.names() if name != "auto"])
def test_each_method_by_name_gives_its_own_sound_bound(name: str, norm: Norm):
    for network in (NET, convolutional(0)):
        if norm not in METHODS[name].norms:
            with pytest.raises(UsageError, match="is for"):
                analyse(network, norm, effort=Effort(method=name))
            continue
        try:
            found = analyse(network, norm, effort=Effort(method=name, seconds=2.0))
        except NoSoundRuleError:
            continue
        assert {bound.bound.method for bound in found.bounds} == {name}
        assert METHODS[name].make(1.0).name == name
        assert found.enclosure.lower.value <= found.enclosure.upper.value


def test_a_method_that_does_not_apply_is_an_error_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="did you mean product"):
        analyse(NET, effort=Effort(method="produkt"))


def test_cheap_methods_come_first():
    order = [name for name, _ in applicable(fold(NET), Norm.L2)]
    assert order[0] == "product"
    assert order[-1] == "rescaled product"
