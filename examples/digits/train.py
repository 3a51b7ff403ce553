"""Train the two networks of `make demo` on scikit-learn's digits: the same one without and with L2.

Run from the root of the repository: .venv/bin/python examples/digits/train.py
It writes plain.* and l2.* (safetensors and ONNX) beside this file; the committed files were made by this script.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from netgain.data.dataset import load

FOLDER = Path(__file__).parent
EPOCHS = 60


def build() -> nn.Module:
    """The network: 8x8 pixels in [0, 1] to ten class scores."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def train(strength: float) -> nn.Module:
    """The network trained with the penalty strength/2 * sum of squared weights (biases free)."""
    torch.manual_seed(0)
    data = load("digits:train")
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(data)).split(64):
            loss = nn.functional.cross_entropy(model(data.x[batch]), data.y[batch])
            penalty = sum(p.square().sum() for p in model.parameters() if p.ndim > 1)
            optimizer.zero_grad()
            (loss + strength / 2 * penalty).backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    """Train, test and save both."""
    test = load("digits:test")
    for name, strength in (("plain", 0.0), ("l2", 0.01)):
        model = train(strength)
        accuracy = (model(test.x).argmax(1) == test.y).double().mean()
        print(f"{name}: L2 strength {strength}, test accuracy {accuracy:.4f}")
        save_file(model.state_dict(), str(FOLDER / f"{name}.safetensors"))
        program = torch.onnx.export(model, (test.x[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},), dynamo=True)
        if program is None:
            raise RuntimeError("torch.onnx.export gave no program")
        for value in (program.model.graph, *program.model.graph):
            value.metadata_props.clear()  # stack traces, with the paths of this machine
        program.save(str(FOLDER / f"{name}.onnx"), external_data=False)


if __name__ == "__main__":
    main()
