"""Random grid pieces, and what the tests compare their factors with."""

import dataclasses
import math
import random

import torch
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.core.norms import Norm
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv
from netgain.linear.diagonal import Diagonal
from netgain.linear.pooling import average_pool
from netgain.network.graph import Affine, Concat, Elementwise, Kind, Network, Node, Source, Sum, Vector
from netgain.vectors.extrema import GroupSort
from netgain.vectors.pool import MaxPool
from netgain.witness.certificate import Grid, Piece, Proof
from netgain.witness.geometry import Place, Taps
from netgain.witness.steps import Added, Filtered, Joined, Limited, Plan, Sloped, Sorted, plan
from netgain.witness.symbols import SHIFT_BITS, Lattice, symbol
from tests.gain.networks import act, node


def normal(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(rng.randrange(2**31)), dtype=torch.float64)


def any_node() -> Node:
    return Node("n", Sum((1.0,)), ("x",), (1,), Source("test.op", "net.n", "net.py:12"))


def random_conv(rng: random.Random, in_shape: tuple[int, ...], out: int, *, valid: bool = False) -> Conv:
    """Any kernel, stride, dilation, padding and groups that fit."""
    axes = len(in_shape) - 1
    while True:
        kernel = [rng.choice([1, 2, 3, 3, 4]) for _ in range(axes)]
        stride = tuple(rng.choice([1, 1, 2, 3]) for _ in range(axes))
        dilation = tuple(rng.choice([1, 1, 2]) for _ in range(axes))
        padding = tuple((0, 0) if valid else (rng.randrange(4), rng.randrange(4)) for _ in range(axes))
        groups = rng.choice([g for g in (1, 2, 3) if in_shape[0] % g == 0 and out % g == 0])
        sizes = zip(in_shape[1:], padding, dilation, kernel, strict=True)
        if all(n + sum(p) >= d * (k - 1) + 1 for n, p, d, k in sizes):
            weight = normal(rng, out, in_shape[0] // groups, *kernel)
            if rng.random() < 0.3:
                weight = weight * (torch.rand(weight.shape[2:], generator=torch.Generator().manual_seed(1)) < 0.6)
            return Conv(weight, in_shape, stride, padding, dilation, groups)


def transform(place: Place, lattice: Lattice, block: Tensor) -> Tensor:
    """From the true grid to the frequencies of one block, unitary: (channel alias) x (channel position)."""
    parts = []
    for axis, (n, step) in enumerate(zip(place.grid, place.step, strict=True)):
        period, count = lattice.sizes[axis] // step, lattice.coarsest[axis] // step
        k = block[axis] + lattice.blocks[axis] * torch.arange(count).double() + lattice.shifts[axis] / 2**SHIFT_BITS
        turns = torch.outer(k, torch.arange(n).double()) / period
        parts.append(torch.polar(torch.full_like(turns, period**-0.5), -2 * math.pi * turns))
    full = torch.eye(place.channels, dtype=torch.complex128)
    for part in parts:
        full = torch.kron(full, part)
    return full


def fits(taps: Taps, spare: int = 0) -> tuple[int, ...]:
    """A period of the input that is large enough and divisible by the stride."""
    pairs = zip(taps.least, taps.stride, taps.behind, strict=True)
    return tuple(max(-(-(least + spare) // s), m) * s for least, s, m in pairs)


# --- Ordinary arithmetic: the pullback on a grid, which finds feasible multipliers, and the one on true grids. --------


class Pullback:
    """A batch of Hermitian forms over the live values."""

    def __init__(self, form: Tensor, stop: str):
        self.form, self.live, self.sizes = form, [stop], {stop: form.shape[1]}

    def eye(self, size: int, factor: float = 1.0) -> Tensor:
        return factor * torch.eye(size).to(self.form)

    def substitute(self, name: str, parts: dict[str, Tensor]) -> None:
        """name = sum of parts[u] u: the congruence, with the value removed and its inputs made live, at the end."""
        self.sizes.update({new: part.shape[-1] for new, part in parts.items()})
        kept = [one for one in self.live if one != name]
        live = kept + [one for one in parts if one not in kept]
        whole = torch.zeros(len(self.form), self.form.shape[1], sum(self.sizes[one] for one in live)).to(self.form)
        first = 0
        for one in self.live:
            last = first + self.sizes[one]
            for new, part in (parts if one == name else {one: self.eye(self.sizes[one])}).items():
                start = sum(self.sizes[k] for k in live[: live.index(new)])
                whole[:, first:last, start : start + self.sizes[new]] = part
            first = last
        self.form, self.live = whole.mH @ self.form @ whole, live

    def last(self, name: str, new: str) -> None:
        """Rename a value and make it the last one."""
        self.substitute(name, {new: self.eye(self.sizes[name])})

    def eliminate(self, weight: Tensor) -> None:
        """Maximize over the last value y, which pays y^H weight y."""
        rest = self.form.shape[1] - self.sizes[self.live.pop()]
        corner, side = weight - self.form[:, rest:, rest:], self.form[:, rest:, :rest]
        assert bool((torch.linalg.eigvalsh(corner) > 0).all())
        self.form = self.form[:, :rest, :rest] + side.mH @ torch.linalg.solve(corner, side)

    def add(self, name: str, weight: Tensor) -> None:
        """Add a form of one value."""
        if name not in self.live:
            self.live.append(name)
            self.sizes[name] = len(weight)
            self.form = torch.nn.functional.pad(self.form, (0, len(weight), 0, len(weight)))
        first = sum(self.sizes[one] for one in self.live[: self.live.index(name)])
        self.form[:, first : first + len(weight), first : first + len(weight)] += weight

    def slope(self, name: str, source: str, ends: tuple[Tensor, Tensor], weight: Tensor) -> None:
        """name = phi(source) with slopes between the ends, as c z + w with T |w|^2 <= T r^2 |z|^2."""
        centre, radius = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
        self.substitute(name, {source: torch.diag(centre).to(self.form), "w": self.eye(len(centre))})
        self.last("w", "w'")
        self.eliminate(torch.diag(weight).to(self.form))
        self.add(source, torch.diag(weight * radius**2))

    def limit(self, source: str, weight: Tensor, behind: Tensor) -> None:
        """The last value y with y^H weight y <= z^H behind z for its source z."""
        self.eliminate(weight.to(self.form))
        self.add(source, behind)

    def factor(self, metric: Tensor) -> float:
        root = metric.rsqrt()
        return float(torch.linalg.eigvalsh(root[:, None] * self.form * root)[:, -1].max())


def joined(sizes: list[int], inputs: tuple[str, ...]) -> dict[str, Tensor]:
    """The matrices that put values end to end."""
    parts: dict[str, Tensor] = {}
    first = 0
    for one, size in zip(inputs, sizes, strict=True):
        part = torch.zeros(sum(sizes), size, dtype=torch.float64)
        part[first : first + size] = torch.eye(size)
        parts[one] = parts[one] + part if one in parts else part
        first += size
    return parts


def added(size: int, inputs: tuple[str, ...], scales: tuple[float, ...]) -> dict[str, Tensor]:
    total: dict[str, float] = {}
    for one, scale in zip(inputs, scales, strict=True):
        total[one] = total.get(one, 0.0) + scale
    return {one: scale * torch.eye(size, dtype=torch.float64) for one, scale in total.items()}


def on_grid(
    plan: Plan, stop: str, stop_metric: Tensor, metric: Tensor, rng: random.Random
) -> tuple[dict[str, Tensor], float]:
    """Random feasible multipliers for the plan, and the factor they give on its grid, in ordinary arithmetic."""
    blocks = plan.lattice.representatives()

    def aliases(name: str) -> int:
        return math.prod(plan.lattice.aliases(plan.places[name]))

    def repeated(name: str, weights: Tensor) -> Tensor:
        return weights.reshape(-1).expand(plan.places[name].channels).repeat_interleave(aliases(name))

    chosen = dict[str, Tensor]()
    if plan.closing is not None:
        limit = plan.closing
        spread = torch.tensor([rng.uniform(1.0, 2.5) for _ in limit.multiplier], dtype=torch.float64)
        chosen[stop] = stop_metric * spread if len(spread) > 1 else stop_metric.max().reshape(1) * spread
        stop_metric = chosen[stop] * limit.gain**2
    start = torch.diag(repeated(plan.stop, stop_metric)).to(torch.complex128)
    pull = Pullback(start.expand(len(blocks), -1, -1).clone(), plan.stop)

    def choose(name: str, count: int) -> Tensor:
        size = pull.sizes[name]
        largest = float(torch.linalg.eigvalsh(pull.form[:, -size:, -size:])[:, -1].max())
        spread = torch.tensor([rng.uniform(1.02, 2.5) for _ in range(count)], dtype=torch.float64)
        return spread * max(largest, 1e-3)

    for step in reversed(plan.steps):
        name, source, action = step.name, step.inputs[0], step.action
        if name not in pull.live:
            continue
        before, behind = plan.places[source], plan.places[name]
        match action:
            case Filtered():
                pull.substitute(name, {source: symbol(plan.lattice, action.taps, before, behind, blocks)[0]})
            case Added():
                pull.substitute(name, added(pull.sizes[name], step.inputs, action.scales))
            case Joined():
                pull.substitute(name, joined([plan.places[k].channels * aliases(k) for k in step.inputs], step.inputs))
            case Sloped():
                pull.last(name, name)
                chosen[name] = choose(name, behind.channels)
                ends = (repeated(name, action.low), repeated(name, action.high))
                pull.slope(name, source, ends, repeated(name, chosen[name]))
            case Limited():
                pull.last(name, name)
                chosen[name] = choose(name, action.multiplier.numel())
                weights = [torch.diag(repeated(one, chosen[name])) for one in (name, source)]
                pull.limit(source, weights[0], weights[1] * action.gain**2)
            case Sorted():
                pull.last(name, name)
                groups = len(action.lam)
                lam = choose(name, 1).expand(groups)
                gamma = lam * torch.tensor([rng.uniform(-0.2, 1) for _ in range(groups)]).double()
                lam = lam + (-gamma).clamp_min(0.0) * (behind.channels // groups)
                chosen[name] = torch.stack([lam, gamma])
                weight = torch.kron(sorting(chosen[name], behind.channels), torch.eye(aliases(name)).double())
                pull.limit(source, weight, weight)
    assert pull.live == [plan.start]
    return chosen, pull.factor(repeated(plan.start, metric))


def sorting(given: Tensor, channels: int) -> Tensor:
    """lambda I + gamma 1 1^T in each group."""
    groups = given.shape[1]
    size = channels // groups
    ones = torch.block_diag(*(g * torch.ones(size, size).double() for g in given[1]))
    return torch.diag(given[0].repeat_interleave(size)) + ones


def on_pixels(network: Network, piece: Piece, stop_metric: Tensor) -> float:
    """The factor with the same multipliers at each pixel of the true grids, from the dense matrices of the network."""
    shapes = network.shapes()

    def repeated(name: str, weights: Tensor) -> Tensor:
        channels, *grid = shapes[name]
        return weights.reshape(-1).expand(channels).repeat_interleave(math.prod(grid))

    pull = Pullback(torch.diag(repeated(piece.stop, stop_metric))[None], piece.stop)
    for one in reversed(network.nodes):
        name, source = one.name, one.inputs[0]
        if name not in pull.live:
            continue
        match one.kind:
            case Affine(map=linear_map):
                pull.substitute(name, {source: linear_map.matrix()})
            case Sum(scales=scales):
                pull.substitute(name, added(pull.sizes[name], one.inputs, scales))
            case Concat():
                pull.substitute(name, joined([math.prod(shapes[k]) for k in one.inputs], one.inputs))
            case Elementwise(activation=activation):
                line = torch.full(one.shape, math.inf, dtype=torch.float64)
                low, high = (end.expand(one.shape).flatten(1) for end in activation.slope_range(-line, line))
                ends = (repeated(name, low.amin(1).clamp_max(0)), repeated(name, high.amax(1).clamp_min(0)))
                pull.last(name, name)
                pull.slope(name, source, ends, repeated(name, piece.multipliers[name]))
            case Vector(function=function):
                pull.last(name, name)
                given = piece.multipliers[name]
                if given.dim() == 2:
                    weight = torch.kron(sorting(given, one.shape[0]), torch.eye(math.prod(one.shape[1:])).double())
                    pull.limit(source, weight, weight)
                else:
                    weights = [torch.diag(repeated(key, given)) for key in (name, source)]
                    pull.limit(source, weights[0], weights[1] * function.gain(Norm.L2) ** 2)
            case _:
                raise AssertionError(one)
    assert pull.live == [piece.start]
    return pull.factor(repeated(piece.start, piece.metric))


# --- Random pieces. ---------------------------------------------------------------------------------------------------

ACTIVATIONS = [
    ("relu", {}),
    ("leaky_relu", {"negative_slope": 0.2}),
    ("leaky_relu", {"negative_slope": 0.99}),
    ("leaky_relu", {"negative_slope": -0.5}),
    ("tanh", {}),
    ("silu", {}),
]


class Random:
    """A network of grid nodes, built node by node."""

    def __init__(self, rng: random.Random, shape: tuple[int, ...]):
        self.rng, self.nodes, self.shape, self.name, self.input = rng, list[Node](), shape, "x", shape

    def put(self, kind: Kind, shape: tuple[int, ...], *inputs: str) -> str:
        self.name, self.shape = f"n{len(self.nodes)}", shape
        self.nodes.append(node(self.name, kind, inputs, shape))
        return self.name

    def conv(self, *, keep: bool = False) -> None:
        """A convolution, sometimes with a scale behind it; `keep` keeps the shape."""
        channels = self.shape[0] if keep else self.rng.choice([1, 2, 3])
        if keep:
            axes = len(self.shape) - 1
            weight = normal(self.rng, channels, channels, *(3,) * axes)
            kind: AbstractLinearMap = Conv(weight, self.shape, (1,) * axes, ((1, 1),) * axes, (1,) * axes)
        else:
            kind = random_conv(self.rng, self.shape, channels, valid=self.rng.random() < 0.3)
        if self.rng.random() < 0.3:
            scale = normal(self.rng, kind.out_shape[0], *(1,) * (len(self.shape) - 1))
            kind = Chain((kind, Diagonal(scale, kind.out_shape)))
        self.put(Affine(kind), kind.out_shape, self.name)

    def act(self) -> None:
        if self.rng.random() < 0.2:
            size = self.rng.choice([g for g in (1, 2, 3) if self.shape[0] % g == 0])
            self.put(Vector(GroupSort(self.shape, 0, size)), self.shape, self.name)
        elif self.rng.random() < 0.15:
            ends = torch.tensor([[0.0, -0.5], [0.99, 0.3]])[:, [self.rng.randrange(2) for _ in range(self.shape[0])]]
            weight = ends[self.rng.randrange(2)].reshape(-1, *(1,) * (len(self.shape) - 1)).double()
            self.put(act("prelu", weight=weight), self.shape, self.name)
        else:
            name, parameters = self.rng.choice(ACTIVATIONS)
            self.put(act(name, **parameters), self.shape, self.name)

    def pool(self) -> None:
        axes = len(self.shape) - 1
        if min(self.shape[1:]) < 2:
            return
        if self.rng.random() < 0.5:
            step = self.rng.choice([1, 2])
            pool = MaxPool(self.shape, (2,) * axes, (step,) * axes, (self.rng.randrange(2),) * axes, (1,) * axes)
            self.put(Vector(pool), pool.out_shape, self.name)
        else:
            step = self.rng.choice([1, 2])
            mean = average_pool(self.shape, (2,) * axes, (step,) * axes, ((self.rng.randrange(2),) * 2,) * axes)
            self.put(Affine(mean), mean.out_shape, self.name)

    def branch(self) -> None:
        """A residual sum or a concatenation of two branches."""
        start, shape = self.name, self.shape
        self.conv(keep=True)
        if self.rng.random() < 0.8:
            self.act()
        if self.rng.random() < 0.6:
            self.conv(keep=True)
        if self.rng.random() < 0.5:
            scales = (1.0, self.rng.choice([1.0, 0.5, -1.5]))
            self.put(Sum(scales), shape, start, self.name)
        else:
            self.put(Concat(0), (2 * shape[0], *shape[1:]), start, self.name)

    def network(self) -> Network:
        return Network("x", self.input, tuple(self.nodes), self.name)


def random_network(rng: random.Random, shape: tuple[int, ...], length: int) -> Network:
    build = Random(rng, shape)
    build.conv()
    for _ in range(length):
        rng.choice([build.conv, build.act, build.act, build.act, build.pool, build.branch])()
        if rng.random() < 0.4:
            build.conv()
    return build.network()


def unit(network: Network, grid: Grid, masks: tuple[str, ...] = ()) -> Piece:
    """The piece of a whole network with multipliers of the right number that mean nothing yet."""
    ones = {name: torch.ones(1, dtype=torch.float64) for name in masks}
    for one in network.nodes:
        if isinstance(one.kind, Elementwise | Vector):
            sorts = isinstance(one.kind, Vector) and isinstance(one.kind.function, GroupSort)
            ones[one.name] = torch.ones(2, 1, dtype=torch.float64) if sorts else torch.ones(1, dtype=torch.float64)
    return Piece(start="x", stop=network.output, proof=Proof.GRID, multipliers=ones, grid=grid)


def planned(network: Network, shifts: tuple[float, ...], spare: int = 0) -> tuple[Piece, Plan | None]:
    """The piece with the masks it needs and the smallest grid that fits, and its plan."""
    masks: tuple[str, ...] = ()
    sizes = (1,) * len(shifts)
    for _ in range(80):
        piece = unit(network, Grid(sizes=sizes, shifts=shifts), masks)
        try:
            found = plan(network, piece, network.nodes)
        except RefusedCertificateError as error:
            if "there is no mask:" in error.detail:
                masks = (*masks, "mask:" + error.detail.split("mask:")[1].split()[0].rstrip("."))
            else:
                sizes = tuple(size + 1 for size in sizes)
            continue
        if spare == 0:
            return piece, found
        spare, sizes = spare - 1, tuple(size + 1 for size in sizes)
    return piece, None


def random_piece(seed: int, shape: tuple[int, ...], length: int) -> tuple[Network, Piece, Tensor, float]:
    """A network, its whole piece with feasible multipliers, a metric at its stop, and the factor as computed."""
    rng = random.Random(seed)
    for _ in range(100):
        network = random_network(rng, shape, length)
        shifts = tuple(rng.choice([0.0, 0.5, 0.5, rng.random()]) for _ in shape[1:])
        piece, found = planned(network, shifts, rng.choice([0, 0, 1]))
        if found is not None and sum(found.size(name) for name in found.places) < 400 // len(shape):
            break
    else:
        raise AssertionError("all networks were too large")
    channels = network.output_shape[0]
    stop_metric = normal(rng, rng.choice([1, channels])).exp()
    metric = normal(rng, rng.choice([1, shape[0]])).exp()
    multipliers, factor = on_grid(found, piece.stop, stop_metric, metric, rng)
    ready = {name: multipliers.get(name, given) for name, given in piece.multipliers.items()}
    return network, dataclasses.replace(piece, metric=metric, multipliers=ready), stop_metric, factor
