"""The hash follows the function's graph and weights, nothing else."""

import copy
import dataclasses
import subprocess
import sys

import torch
from torch import nn

from netgain.network.digest import digest
from netgain.network.graph import Source
from netgain.network.read.read import read

SCRIPT = """
import torch
from torch import nn
from netgain.network.digest import digest
from netgain.network.read.read import read
torch.manual_seed(0)
print(digest(read(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)), (1, 4, 4))))
"""


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))


def test_same_in_another_process():
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == digest(read(model(), (1, 4, 4)))


def test_names_and_sources_do_not_matter():
    network = read(model(), (1, 4, 4))
    names = {node.name: f"other_{index}" for index, node in enumerate(network.nodes)} | {network.input: "x"}
    nodes = tuple(
        dataclasses.replace(
            node, name=names[node.name], inputs=tuple(names[i] for i in node.inputs), source=Source("elsewhere")
        )
        for node in network.nodes
    )
    renamed = dataclasses.replace(network, input="x", nodes=nodes, output=names[network.output], origin="other")
    assert digest(renamed) == digest(network)


def test_one_unit_in_the_last_place_matters():
    module = model()
    before = digest(read(module, (1, 4, 4)))
    with torch.no_grad():
        module[3].bias[1] = torch.nextafter(module[3].bias[1], torch.tensor(9.0))
    assert digest(read(module, (1, 4, 4))) != before


def test_structure_matters():
    module = model()
    before = digest(read(module, (1, 4, 4)))
    changed = copy.deepcopy(module)
    changed[1] = nn.LeakyReLU(0.1)
    other = copy.deepcopy(module)
    other[1] = nn.LeakyReLU(0.2)
    hashes = {before, digest(read(changed, (1, 4, 4))), digest(read(other, (1, 4, 4)))}
    assert len(hashes) == 3


def test_weights_of_operations_that_are_only_run_matter():
    torch.manual_seed(0)
    one, two = nn.GRUCell(2, 2), nn.GRUCell(2, 2)
    hashes = [digest(read(module, (2,))) for module in (one, two, one)]
    assert hashes[0] == hashes[2] != hashes[1]


def test_close_parameters_matter():
    close = (0.1, 0.1 + 1e-12)
    assert len({digest(read(nn.LeakyReLU(slope), (2,))) for slope in close}) == 2


def test_parameters_given_as_tensors_matter():
    one, two = nn.PReLU(3), nn.PReLU(3)
    with torch.no_grad():
        two.weight[1] = 0.5
    assert digest(read(one, (3,))) != digest(read(two, (3,)))
