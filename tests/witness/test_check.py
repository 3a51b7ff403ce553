"""Forged certificates: each is refused, with its reason. Honest ones pass, also after a round trip through JSON."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from netgain.core.errors import CertificateFileError, RefusedCertificateError
from netgain.core.norms import Norm
from netgain.core.results import Side
from netgain.linear.convolution import Conv
from netgain.network.digest import digest
from netgain.network.fold import fold
from netgain.network.graph import Affine, Network
from netgain.witness.certificate import FORMAT, Certificate, Claim, Piece, Proof
from netgain.witness.check import check
from netgain.witness.document import dumps, load, loads, rounded
from netgain.witness.prove import prove
from tests.gain.networks import act, chain, conv, mlp, normal, residual
from tests.witness.networks import feasible

MARGIN = 1 + 2.0**-33


def honest(network: Network, *proofs: Proof) -> Certificate:
    """A certificate of one whole bound and one difference."""
    folded = fold(network)
    pieces = rounded([feasible(folded)])
    bound = prove(folded, pieces) * MARGIN
    one = Piece(start=folded.input, stop=folded.output, proof=Proof.PRODUCT)
    pair = prove(folded, [one], target=(0, 1)) * MARGIN
    claims = (Claim(bound=bound, pieces=pieces, method="test"), Claim(bound=pair, pieces=(one,), target=(0, 1)))
    return Certificate(digest=digest(network), norm=Norm.L2, claims=claims, model="test", created="today", netgain="0")


@pytest.fixture(scope="module")
def network() -> Network:
    return mlp(0, 3, 5, 4, 2)


@pytest.fixture(scope="module")
def certificate(network: Network) -> Certificate:
    return honest(network)


def test_honest_certificates_pass(network, certificate, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(dumps(certificate))
    again = load(path)
    assert dumps(again) == dumps(certificate)
    bounds = check(again, network)
    for bound, claim in zip(bounds, certificate.claims, strict=True):
        assert claim.bound * (1 - 1e-9) <= bound.value <= claim.bound
    assert all(bound.side is Side.UPPER and bound.norm is Norm.L2 and bound.region == "global" for bound in bounds)
    dense = dataclasses.replace(certificate, claims=certificate.claims[:1])
    assert check(dense, network, exact=True)[0].value <= certificate.claims[0].bound


def test_a_residual_network_passes_in_rational_arithmetic():
    net = residual(3)
    certificate = dataclasses.replace(honest(net), claims=honest(net).claims[:1])
    assert "rational" in check(certificate, net, exact=True)[0].method


def test_numbers_are_written_as_they_are_checked(certificate):
    piece = certificate.claims[0].pieces[0]
    again = loads(dumps(certificate)).claims[0].pieces[0]
    for name, values in piece.multipliers.items():
        assert torch.equal(values, again.multipliers[name])
    assert all(len(repr(x).replace(".", "").strip("0")) <= 12 for v in piece.multipliers.values() for x in v.tolist())


def replaced(network: Network, name: str, **changes: Any) -> Network:
    nodes = (dataclasses.replace(node, **changes) if node.name == name else node for node in network.nodes)
    return dataclasses.replace(network, nodes=tuple(nodes))


def test_another_network_is_refused(network, certificate):
    weight = network.nodes[0].kind.map.weight.clone()
    weight[1, 1] = torch.nextafter(weight[1, 1], torch.tensor(9.0).double())
    others = [
        replaced(network, "n0", kind=Affine(dataclasses.replace(network.nodes[0].kind.map, weight=weight))),
        replaced(network, "n1", kind=act("leaky_relu", negative_slope=0.01)),
        mlp(7, 3, 5, 4, 2),
        mlp(0, 3, 5, 4, 2, name="tanh"),
    ]
    for other in others:
        with pytest.raises(RefusedCertificateError, match="another network") as caught:
            check(certificate, other)
        assert caught.value.exit_code == 1
        assert caught.value.code == "NG031"


def test_another_stride_is_refused():
    def net(stride: int) -> Network:
        first: Conv = conv(normal(0, 2, 1, 3, 3), (1, 5, 5), stride, 1)
        return chain((1, 5, 5), Affine(first), act("relu"))

    folded = net(1)
    piece = Piece(start="x", stop=folded.output, proof=Proof.PRODUCT)
    bound = prove(folded, [piece]) * MARGIN
    certificate = Certificate(digest=digest(folded), norm=Norm.L2, claims=(Claim(bound=bound, pieces=(piece,)),))
    assert check(certificate, folded)
    with pytest.raises(RefusedCertificateError, match="another network"):
        check(certificate, net(2))


def forged(certificate: Certificate, **changes: Any) -> Certificate:
    """The first claim with something changed."""
    first = dataclasses.replace(certificate.claims[0], **changes)
    return dataclasses.replace(certificate, claims=(first, *certificate.claims[1:]))


def with_piece(certificate: Certificate, **changes: Any) -> Certificate:
    return forged(certificate, pieces=(dataclasses.replace(certificate.claims[0].pieces[0], **changes),))


def with_multiplier(certificate: Certificate, name: str, values: list[Any]) -> Certificate:
    given = certificate.claims[0].pieces[0].multipliers
    changed = dict(given) | {name: torch.tensor(values, dtype=torch.float64)}
    return with_piece(certificate, multipliers=changed)


def without(certificate: Certificate, name: str) -> Certificate:
    given = certificate.claims[0].pieces[0].multipliers
    return with_piece(certificate, multipliers={key: values for key, values in given.items() if key != name})


def halved(certificate: Certificate) -> Certificate:
    given = certificate.claims[0].pieces[0].multipliers
    return with_piece(certificate, multipliers={key: values / 10 for key, values in given.items()})


def aimed(certificate: Certificate) -> Claim:
    return dataclasses.replace(certificate.claims[0], target=(0, 2))


nan, inf = float("nan"), float("inf")
FORGED: dict[str, tuple[Callable[[Certificate], Certificate], str]] = {
    "shaved": (lambda c: forged(c, bound=c.claims[0].bound * (1 - 1e-9)), "prove only"),
    "shaved a lot": (lambda c: forged(c, bound=1e-3), "prove only"),
    "zero": (lambda c: forged(c, bound=0.0), "prove only"),
    "negative bound": (lambda c: forged(c, bound=-1.0), "the bound claimed"),
    "infinite bound": (lambda c: forged(c, bound=inf), "the bound claimed"),
    "NaN bound": (lambda c: forged(c, bound=nan), "the bound claimed"),
    "digest": (lambda c: dataclasses.replace(c, digest="0" * 64), "another network"),
    "region": (lambda c: dataclasses.replace(c, region="ball of radius 1"), "region"),
    "norm": (lambda c: dataclasses.replace(c, norm=Norm.LINF), "proves l2"),
    "no claims": (lambda c: dataclasses.replace(c, claims=()), "nothing"),
    "pair first": (lambda c: dataclasses.replace(c, claims=c.claims[1:]), "whole output"),
    "no pieces": (lambda c: forged(c, pieces=()), "no pieces"),
    "wrong start": (lambda c: with_piece(c, start="n1"), "do not join"),
    "wrong stop": (lambda c: with_piece(c, stop="n2"), "end at"),
    "unknown stop": (lambda c: with_piece(c, stop="n9"), "no node 'n9'"),
    "unknown node": (lambda c: with_multiplier(c, "n9", [1.0]), "'n9' is not a nonlinear node"),
    "linear node": (lambda c: with_multiplier(c, "n2", [1.0]), "'n2' is not a nonlinear node"),
    "too few": (lambda c: with_multiplier(c, "n1", [9.0, 9.0]), "2 numbers"),
    "too many": (lambda c: with_multiplier(c, "n1", [9.0] * 6), "6 numbers"),
    "two rows": (lambda c: with_multiplier(c, "n1", [[9.0] * 5] * 2), "2x5 numbers"),
    "empty": (lambda c: with_multiplier(c, "n1", []), "0 numbers"),
    "none": (lambda c: without(c, "n1"), "no multiplier"),
    "negative": (lambda c: with_multiplier(c, "n1", [9.0, 9.0, -9.0, 9.0, 9.0]), "positive"),
    "zero multiplier": (lambda c: with_multiplier(c, "n1", [9.0, 9.0, 0.0, 9.0, 9.0]), "positive"),
    "NaN": (lambda c: with_multiplier(c, "n1", [9.0, 9.0, nan, 9.0, 9.0]), "positive and finite"),
    "infinite": (lambda c: with_multiplier(c, "n1", [9.0, 9.0, inf, 9.0, 9.0]), "positive and finite"),
    "too small": (halved, "exceed"),
    "metric at the input": (lambda c: with_piece(c, metric=torch.full((1,), 2.0).double()), "must be 1"),
    "product with multipliers": (lambda c: with_piece(c, proof=Proof.PRODUCT), "takes no multipliers"),
    "target": (
        lambda c: dataclasses.replace(c, claims=(*c.claims, dataclasses.replace(c.claims[0], target=(0, 2)))),
        "target",
    ),
}


@pytest.mark.parametrize("how", FORGED)
def test_forged_certificates_are_refused(network, certificate, how):
    forge, reason = FORGED[how]
    with pytest.raises(RefusedCertificateError, match=reason):
        check(forge(certificate), network)


def test_forged_metrics_and_joints_are_refused(network):
    folded = fold(network)
    multipliers = {"n1": torch.full((1,), 1e3).double(), "n3": torch.full((1,), 3.0).double()}

    def claimed(metric: list[float], cut: str = "n3", bound: float = 1e9) -> Certificate:
        given = torch.tensor(metric, dtype=torch.float64)
        first = Piece(start="x", stop=cut, proof=Proof.DENSE, multipliers=multipliers)
        second = Piece(start=cut, stop="n4", proof=Proof.DENSE, metric=given)
        return Certificate(digest=digest(network), norm=Norm.L2, claims=(Claim(bound=bound, pieces=(first, second)),))

    assert check(claimed([1.0]), network)
    for metric in ([0.0], [-1.0], [nan], [inf], [1.0, 1.0, -1.0, 1.0]):
        with pytest.raises(RefusedCertificateError, match="metric at 'n3'"):
            check(claimed(metric), network)
    with pytest.raises(RefusedCertificateError, match="3 numbers"):
        check(claimed([1.0] * 3), network)
    # Weighing one entry down makes the second piece dearer by as much: nothing is gained for free.
    whole = prove(folded, claimed([1.0]).claims[0].pieces)
    assert prove(folded, claimed([1e-6, 1.0, 1.0, 1.0]).claims[0].pieces) > whole
    net = residual(0)
    skipped = [Piece(start="x", stop="b", proof=Proof.PRODUCT), Piece(start="b", stop="e", proof=Proof.PRODUCT)]
    with pytest.raises(RefusedCertificateError, match="does not separate"):
        prove(net, skipped)


def edited(certificate: Certificate, old: str, new: str) -> str:
    text = dumps(certificate)
    assert old in text
    return text.replace(old, new, 1)


UNREADABLE: dict[str, Callable[[Certificate], str]] = {
    "empty": lambda c: "",
    "not JSON": lambda c: "import os",
    "cut short": lambda c: dumps(c)[:-20],
    "a list": lambda c: "[1]",
    "another format": lambda c: edited(c, FORMAT, "netgain-certificate/2"),
    "no format": lambda c: edited(c, '"format":', '"form":'),
    "NaN": lambda c: edited(c, '"bound":', '"bound":NaN,"x":'),
    "infinity": lambda c: edited(c, '"metric":[1.0]', '"metric":[Infinity]'),
    "overflow": lambda c: edited(c, '"metric":[1.0]', '"metric":[1e999]'),
    "large integer": lambda c: edited(c, '"metric":[1.0]', f'"metric":[1{"0" * 400}]'),
    "absurd integer": lambda c: edited(c, '"metric":[1.0]', f'"metric":[1{"0" * 9000}]'),
    "duplicated key": lambda c: edited(c, '"bound":', '"bound":1.0,"bound":'),
    "duplicated node": lambda c: edited(c, '"multipliers":{', '"multipliers":{"n1":[1.0],'),
    "extra key": lambda c: edited(c, '"region":', '"area":1,"region":'),
    "missing key": lambda c: edited(c, '"region":"global",', ""),
    "number as text": lambda c: edited(c, '"metric":[1.0]', '"metric":["1.0"]'),
    "boolean": lambda c: edited(c, '"metric":[1.0]', '"metric":[true]'),
    "no numbers": lambda c: edited(c, '"metric":[1.0]', '"metric":[]'),
    "ragged rows": lambda c: edited(c, '"n1":[', '"n1":[[1.0],[1.0,2.0]],"n7":['),
    "unknown norm": lambda c: edited(c, '"norm":"l2"', '"norm":"l3"'),
    "norm as list": lambda c: edited(c, '"norm":"l2"', '"norm":[]'),
    "unknown proof": lambda c: edited(c, '"proof":"dense"', '"proof":"trust me"'),
    "target of three": lambda c: edited(c, '"target":null', '"target":[0,1,2]'),
    "target of halves": lambda c: edited(c, '"target":null', '"target":[0.5,1]'),
    "grid of text": lambda c: edited(c, '"grid":null', '"grid":{"sizes":"8","shifts":[0.5]}'),
    "no claims": lambda c: json.dumps(json.loads(dumps(c)) | {"claims": []}),
    "nested": lambda c: "[" * 100_000,
}


@pytest.mark.parametrize("how", UNREADABLE)
def test_unreadable_files_are_refused(certificate, how, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(UNREADABLE[how](certificate))
    with pytest.raises(CertificateFileError) as caught:
        load(path)
    assert caught.value.exit_code == 2
    assert caught.value.code == "NG032"


def test_files_that_are_none(tmp_path):
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(CertificateFileError, match="not a file"):
            load(path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CertificateFileError, match="cannot be read"):
        load(tmp_path / "binary")


def test_nothing_infinite_is_written(certificate):
    with pytest.raises(CertificateFileError):
        dumps(forged(certificate, bound=inf))
