import dataclasses
import io

import pytest
from rich.console import Console

from netgain.core.errors import UsageError
from netgain.core.record import GainInfo
from netgain.report.compare import compare
from netgain.report.comparison import print_comparison, render_comparison
from tests.report.records import audit_record, layers, rate


def with_gain(lower: float, upper: float, **options):
    record = audit_record(**options)
    gain = GainInfo(lower=lower, upper=upper, norm="l2", region="global", method="m", lower_method="m")
    return dataclasses.replace(record, gain=gain)


def words(first, second) -> str:
    return "\n".join(compare(first, second).sentences)


def test_a_lower_bound_is_called_lower_and_the_gain_only_if_proved():
    text = words(with_gain(5.0, 30.0), with_gain(2.0, 10.0))
    assert "fell from 30 to 10 (x3 lower)" in text
    assert "not proved: the enclosures overlap" in text
    text = words(with_gain(5.0, 30.0), with_gain(1.0, 2.0))
    assert "The gain itself is lower now (proved: the enclosures are apart, by a factor of at least 2.49" in text or (
        "by a factor of at least 2.5)" in text
    )
    assert "The gain itself is higher now" in words(with_gain(1.0, 2.0), with_gain(5.0, 30.0))
    assert "stayed at 30" in words(with_gain(5.0, 30.0), with_gain(4.0, 30.0))


def test_infinite_and_zero_bounds_have_no_quotient():
    assert "fell from infinite to 10." in words(with_gain(5.0, float("inf")), with_gain(2.0, 10.0))
    assert "fell from 30 to 0." in words(with_gain(5.0, 30.0), with_gain(0.0, 0.0))


def test_accuracies_in_words():
    first, second = audit_record(), audit_record()
    first = dataclasses.replace(first, certified_accuracy=(rate(0.18, epsilon=0.25),), clean_accuracy=rate(0.98))
    second = dataclasses.replace(second, certified_accuracy=(rate(0.62, epsilon=0.25),), clean_accuracy=rate(0.976))
    text = words(first, second)
    assert "Certified accuracy at l2 0.25 (raw input units) (proved) went from 18.0 % to 62.0 % (+44.0 points)" in text
    assert "Clean accuracy (measured) went from 98.0 % to 97.6 % (-0.4 points; the 95 % intervals overlap)" in text


def test_only_common_epsilons_are_compared():
    first, second = audit_record(), audit_record()
    second = dataclasses.replace(second, certified_accuracy=(rate(0.5, epsilon=0.25), rate(0.1, epsilon=2.0)))
    epsilons = [change.epsilon for change in compare(first, second).changes if change.quantity == "certified accuracy"]
    assert epsilons == [0.25]


def test_different_norms_are_refused():
    with pytest.raises(UsageError, match=r"l2.*linf"):
        compare(audit_record(), dataclasses.replace(audit_record(), norm="linf"))


def test_different_data_and_shapes_are_caveats():
    first, second = audit_record(), audit_record()
    assert first.data is not None
    second = dataclasses.replace(
        second,
        data=dataclasses.replace(first.data, sha256="00"),
        model=dataclasses.replace(second.model, input_shape=(3, 32, 32), output_shape=(100,), preprocess=None),
    )
    text = "\n".join(compare(first, second).caveats)
    for word in ("different data", "different inputs", "different outputs", "Preprocessing differs"):
        assert word in text
    assert compare(first, first).caveats == ()


def test_unequal_models_match_what_is_alike():
    first = audit_record()
    extra = dataclasses.replace(layers(1)[0], name="extra", operation="linear, 3 to 4")
    second = dataclasses.replace(
        first, layers=(*(dataclasses.replace(layer, name=f"b.{layer.name}") for layer in first.layers), extra)
    )
    rows = compare(first, second).layers
    assert len(rows) == len(first.layers) + 1
    assert all(a is not None and b is not None and b.name == f"b.{a.name}" for a, b in rows[:-1])
    assert rows[-1] == (None, extra)
    stream = io.StringIO()
    print_comparison(compare(first, second), Console(file=stream, width=100))
    assert "extra" in stream.getvalue()
    assert "extra" in render_comparison(compare(first, second))


def test_records_without_data_or_gain_compare_too():
    bare = dataclasses.replace(
        audit_record(),
        gain=None,
        data=None,
        clean_accuracy=None,
        certified_accuracy=(),
        attacked_accuracy=(),
        radii=None,
        layers=(),
    )
    for first, second in ((bare, audit_record()), (audit_record(), bare), (bare, bare)):
        comparison = compare(first, second)
        assert "not bounded" in comparison.sentences[0]
        print_comparison(comparison, Console(file=io.StringIO(), width=60))
        render_comparison(comparison)


def test_the_same_origin_twice_is_told_apart():
    assert compare(audit_record(), audit_record()).labels == ("before", "after")
