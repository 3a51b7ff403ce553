"""One command in a process of its own, from a factory and safetensors to files: nothing replaced."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

FACTORY = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)).eval()

def step():
    return nn.Sequential(nn.Linear(4, 4), Sign())

class Sign(nn.Module):
    def forward(self, x):
        return x.sign()
"""


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "nets.py").write_text(FACTORY)
    generator = torch.Generator().manual_seed(0)
    shapes = {"0.weight": (3, 1, 3, 3), "0.bias": (3,), "3.weight": (3, 48), "3.bias": (3,)}
    save_file({k: torch.randn(v, generator=generator) * 0.3 for k, v in shapes.items()}, tmp_path / "w.safetensors")
    random = np.random.default_rng(0)
    np.savez(tmp_path / "t.npz", x=random.random((12, 1, 4, 4), dtype=np.float32), y=random.integers(0, 3, 12))
    return tmp_path


def netgain(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    source = pathlib.Path(__file__).parents[2] / "src"
    environment = os.environ | {"PYTHONPATH": f"{source}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "netgain", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
    )


@pytest.mark.slow
def test_audit_of_a_factory_with_safetensors(folder):
    ran = netgain(
        folder,
        *("audit", "nets:build", "--weights", "w.safetensors", "--data", "t.npz", "--preprocess", "0.5,0.25"),
        *("--epsilon", "0.01", "--report", "r.html", "--json", "-", "--quiet"),
    )
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["gain"]["lower"] <= document["gain"]["upper"]
    assert document["model"]["preprocess"] == "0.5,0.25"
    assert ran.stderr == "wrote r.html\n"
    assert "nets:build" in (folder / "r.html").read_text()


@pytest.mark.slow
def test_a_step_is_refused_with_the_users_line(folder):
    ran = netgain(folder, "bound", "nets:step", "--input-shape", "4", "--quiet")
    assert ran.returncode == 3
    assert "NG011" in ran.stderr
    assert "nets.py:" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


@pytest.mark.slow
def test_a_factory_in_a_file_outside_any_package(folder):
    place = folder / "my models"
    place.mkdir()
    (folder / "nets.py").rename(place / "my-nets.py")
    ran = netgain(
        folder, "bound", "my models/my-nets.py:build", "--weights", "w.safetensors", "--input-shape", "1,4,4", "-q"
    )
    assert ran.returncode == 0, ran.stderr
    assert "my models/my-nets.py:build" in ran.stdout
    ran = netgain(folder, "bound", "my models/my-nets.py:none", "-q")
    assert ran.returncode == 3
    assert "NG015" in ran.stderr
    assert "none" in ran.stderr
