"""The same program on the unrolled network, pixel by pixel: what a grid must never undercut."""

from collections.abc import Mapping

import torch
from torch import Tensor

from netgain.core.norms import Norm
from netgain.gain.metric.region import Region, sector
from netgain.network.graph import Affine, Concat, Elementwise, Sum, Vector


def expanded(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """One number an entry from one a channel or one in all."""
    if values.numel() == 1:
        return values.reshape(1).expand(torch.Size(shape).numel())
    return values.reshape(-1, *(1,) * (len(shape) - 1)).expand(shape).reshape(-1)


def factor(region: Region, metric: Tensor, multipliers: Mapping[str, Tensor], stop: Tensor) -> float:
    """The least alpha with P <= alpha diag(metric), P the pulled-back form; masks do not exist here."""
    shapes = region.network.shapes()
    rows = {region.start: torch.Size(shapes[region.start]).numel()}
    for node in region.nodes:
        if isinstance(node.kind, Elementwise | Vector):
            rows[node.name] = torch.Size(node.shape).numel()
    total = sum(rows.values())
    eye, first = torch.eye(total, dtype=torch.float64), 0
    values: dict[str, Tensor] = {}
    form = torch.zeros(total, total, dtype=torch.float64)
    units: dict[str, Tensor] = {}
    for key, size in rows.items():
        units[key] = eye[first : first + size]
        first += size
    values[region.start] = units[region.start]
    for node in region.nodes:
        before = [values[name] for name in node.inputs]
        match node.kind:
            case Affine():
                values[node.name] = node.kind.map.matrix() @ before[0]
            case Elementwise():
                c, r = sector(node)
                t, z, y = expanded(multipliers[node.name], node.shape), before[0], units[node.name]
                w = y - c[:, None] * z
                form += w.T @ (t[:, None] * w) - z.T @ ((t * r * r)[:, None] * z)
                values[node.name] = y
            case Vector(function=function):
                z, y = before[0], units[node.name]
                given = multipliers[node.name]
                ty, tz = (expanded(given, function.out_shape), expanded(given, function.in_shape))
                form += y.T @ (ty[:, None] * y) - function.gain(Norm.L2) ** 2 * z.T @ (tz[:, None] * z)
                values[node.name] = y
            case Sum(scales=scales):
                values[node.name] = sum(s * v for s, v in zip(scales, before, strict=True))
            case Concat():
                values[node.name] = torch.cat(before)
            case _:
                raise TypeError(node.kind)
    out = values[region.stop]
    form -= out.T @ (expanded(stop, shapes[region.stop])[:, None] * out)
    size = rows[region.start]
    own, side = form[size:, size:], form[:size, size:]
    torch.linalg.cholesky(own)
    pulled = -form[:size, :size] + side @ torch.linalg.solve(own, side.T)
    scale = expanded(metric, shapes[region.start]).rsqrt()
    return float(torch.linalg.eigvalsh(scale[:, None] * pulled * scale).max())
