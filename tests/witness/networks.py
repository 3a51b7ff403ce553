"""Multipliers that are feasible by construction, and exact constants of tiny networks, for tests of the checker."""

import itertools

import torch
from torch import Tensor

from netgain.core.norms import Norm
from netgain.network.graph import Affine, Concat, Elementwise, Network, Sum, Vector
from netgain.witness.certificate import Piece, Proof
from netgain.witness.pieces import slopes, sorted_groups


def feasible(network: Network, seed: int = 0, spread: float = 1.0, sort: bool = True) -> Piece:
    """One dense piece with multipliers between lambda_max(Q) and a few times that, found by a plain pullback."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.Size(network.output_shape).numel()
    forms: dict[tuple[str, str], Tensor] = {(network.output, network.output): torch.eye(size, dtype=torch.float64)}
    shapes = network.shapes()
    multipliers: dict[str, Tensor] = {}

    def add(a: str, b: str, block: Tensor) -> None:
        forms[a, b] = forms.get((a, b), torch.zeros_like(block)) + block

    def replace(name: str, maps: list[tuple[str, Tensor]]) -> None:
        taken = {key: forms.pop(key) for key in list(forms) if name in key}
        for (a, b), block in taken.items():
            left = maps if a == name else [(a, torch.eye(block.shape[0], dtype=torch.float64))]
            right = maps if b == name else [(b, torch.eye(block.shape[1], dtype=torch.float64))]
            for (p, first), (q, second) in itertools.product(left, right):
                add(p, q, first.T @ block @ second)

    for node in reversed(network.nodes):
        before, name = node.inputs[0], node.name
        entries = torch.Size(shapes[before]).numel()
        eye = torch.eye(entries, dtype=torch.float64)
        match node.kind:
            case Affine(map=linear_map):
                replace(name, [(before, linear_map.matrix())])
            case Sum(scales=scales):
                replace(name, [(key, scale * eye) for key, scale in zip(node.inputs, scales, strict=True)])
            case Concat(axis=axis):
                count = torch.Size(node.shape).numel()
                places = torch.arange(count).reshape(node.shape)
                parts = torch.split(places, [shapes[key][axis] for key in node.inputs], dim=axis)
                rows = torch.eye(count, dtype=torch.float64)
                replace(name, [(key, rows[:, p.reshape(-1)]) for key, p in zip(node.inputs, parts, strict=True)])
            case Elementwise() | Vector():
                q = forms[name, name]
                top = float(torch.linalg.eigvalsh(q)[-1])
                wide = 1.05 + spread * torch.rand(q.shape[0], generator=generator, dtype=torch.float64)
                if isinstance(node.kind, Elementwise):
                    low, high = slopes(node)
                    c, r = (low + high) / 2, (high - low) / 2
                    t = torch.diag(top * wide)
                    multipliers[name] = top * wide
                    added, bent = torch.diag(r * r) @ t, torch.diag((r > 0).double())
                else:
                    function = node.kind.function
                    members = sorted_groups(function)
                    c, bent = torch.zeros(q.shape[0], dtype=torch.float64), torch.eye(q.shape[0], dtype=torch.float64)
                    if members is not None and sort:
                        lam = top * wide[: members.shape[0]]
                        gam = lam * torch.rand(members.shape[0], generator=generator, dtype=torch.float64)
                        multipliers[name] = torch.stack([lam, gam])
                        t = torch.zeros_like(q)
                        for row, a, g in zip(members, lam, gam, strict=True):
                            t[row[:, None], row[None]] = g
                            t[row, row] = a + g
                        added = t
                    else:
                        multipliers[name] = top * wide[:1]
                        t = torch.eye(q.shape[0], dtype=torch.float64) * top * wide[0]
                        added = eye * top * wide[0] * function.gain(Norm.L2) ** 2
                inverse = bent @ torch.linalg.inv(t - q) @ bent if bool(bent.any()) else bent
                if not bool((torch.diagonal(bent) == 1).all()):
                    keep = torch.diagonal(bent).nonzero().squeeze(1)
                    inverse = torch.zeros_like(q)
                    inverse[keep[:, None], keep[None]] = torch.linalg.inv((t - q)[keep[:, None], keep[None]])
                keys = {key[1] for key in forms if key[0] == name}
                extra = {(a, b): forms[a, name] @ inverse @ forms[name, b] for a in keys for b in keys}
                for (a, b), block in extra.items():
                    add(a, b, block)
                if isinstance(node.kind, Elementwise):
                    replace(name, [(before, torch.diag(c))])
                else:
                    for key in [key for key in forms if name in key]:
                        del forms[key]
                add(before, before, added)
    return Piece(start=network.input, stop=network.output, proof=Proof.DENSE, multipliers=multipliers)
