"""Networks that nobody here wrote; each test is skipped where its package is absent (`make zoo` fetches them)."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

import netgain
from netgain.certification.attacks.pgd import PGD
from netgain.certification.audit import AuditOptions, audit
from netgain.certification.certify import CertifyOptions
from netgain.core.errors import NetgainError
from netgain.core.rounding import norm_upper
from netgain.data import known
from netgain.data.dataset import load
from netgain.network.graph import Network


def package(name: str) -> Path:
    """The folder of an installed package, without importing it."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{name} is not installed")
    return Path(next(iter(found.submodule_search_locations)))


@pytest.fixture(scope="module")
def mnist_network() -> Network:
    folder = package("digit_recognizer")
    return netgain.read(
        f"{folder / 'model.py'}:CNN",
        (1, 28, 28),
        weights=folder / "models" / "handwriting_model.pth",
        preprocess="0.1307,0.3081",
    )


@pytest.mark.slow
def test_the_public_mnist_network_is_audited(mnist_network: Network):
    if known.find("mnist", "t10k-images-idx3-ubyte") is None:
        pytest.skip("mnist is not on this machine")
    data = load("mnist:test").first(256)
    options = AuditOptions(certify=CertifyOptions(epsilon=(0.0005, 0.5), attack=PGD(steps=8, starts=1), subset=64))
    found = audit(mnist_network, data.x, data.y, data=data.info(), options=options)
    record = found.record
    assert record.clean_accuracy is not None
    assert record.clean_accuracy.value > 0.97
    assert record.gain is not None
    assert 30 < record.gain.lower <= record.gain.upper < 46_000
    for certified, attacked in zip(record.certified_on_attacked, record.attacked_accuracy, strict=True):
        assert certified.count <= attacked.count
    assert record.certified_accuracy[0].count > 0
    assert {finding.code for finding in record.findings} >= {"NG102"}


@pytest.mark.slow
def test_its_gain_is_not_undercut_by_its_jacobian(mnist_network: Network):
    module = nn.Sequential(mnist_module())
    x = torch.rand(3, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    jacobian = torch.func.vmap(torch.func.jacrev(lambda one: module((one[None] - 0.1307) / 0.3081)[0]))(x)
    sizes = torch.linalg.matrix_norm(jacobian.reshape(3, 10, 784), 2)
    upper = netgain.lipschitz(dataclasses.replace(mnist_network), seconds=5.0).upper.value
    assert float(sizes.max()) <= upper
    values = module((x - 0.1307) / 0.3081)
    assert float(norm_upper(mnist_network(x) - values, netgain.Norm.LINF).max()) < 1e-10


def mnist_module() -> nn.Module:
    folder = package("digit_recognizer")
    spec = importlib.util.spec_from_file_location("public_mnist_model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    module: nn.Module = source.CNN()
    state = torch.load(folder / "models" / "handwriting_model.pth", weights_only=True, map_location="cpu")
    module.load_state_dict(state)
    return module.double().eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "code", "shape"),
    [
        ("basic_pitch", "saved_models/icassp_2022/nmp.onnx", {"NG012", "NG011"}, None),
        ("magika", "models/standard_v3_3/model.onnx", {"NG013"}, None),
    ],
)
def test_what_has_no_rule_is_refused_by_name(name: str, file: str, code: set[str], shape: tuple[int, ...] | None):
    path = package(name) / file
    if not path.exists():
        pytest.skip(f"{path.name} is not in this version of {name}")
    network = netgain.read(path, shape)
    with pytest.raises(NetgainError) as refused:
        netgain.lipschitz(network)
    assert refused.value.code in code
    assert "onnx." in str(refused.value)
