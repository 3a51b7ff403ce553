"""Every family of operations: the network computes what the module computes in float64, with the kinds it should."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netgain
from netgain.core.errors import DiscontinuousError
from netgain.linear.convolution import Conv
from netgain.network.digest import digest
from netgain.network.graph import Affine, Bilinear, Elementwise, Network, Opaque, Vector
from netgain.network.read.read import read

Part = nn.Module | Callable[..., Tensor]


class Side(nn.Module):
    """Several functions of one input; a function of two arguments also gets a buffer `v` of four numbers."""

    def __init__(self, *parts: Part):
        super().__init__()
        self.functions = [part for part in parts if not isinstance(part, nn.Module)]
        self.layers = nn.ModuleList([part for part in parts if isinstance(part, nn.Module)])
        self.register_buffer("v", torch.tensor([0.5, -1.25, 3.0, 0.7]))
        self.register_buffer("m", torch.randn(4, 4, generator=torch.Generator().manual_seed(9)))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mine = [f(x, self) if f.__code__.co_argcount == 2 else f(x) for f in self.functions]
        return (*mine, *(layer(x) for layer in self.layers))


def checked(*parts: Part, shape: tuple[int, ...], rtol: float = 1e-12) -> Network:
    """Read the parts as one model with several outputs and compare with the float64 module on four rows."""
    torch.manual_seed(0)
    module = Side(*parts).eval()
    generator = torch.Generator().manual_seed(3)
    for name, buffer in module.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    for parameter in module.parameters():
        if parameter.ndim == 1:
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.3
    network = read(module, shape)
    x = torch.randn(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs = copy.deepcopy(module).double()(x)
        found = network(x).reshape(4, -1)
    start = 0
    for index, output in enumerate(outputs):
        expected = output.reshape(4, -1).double()
        part = found[:, start : start + expected.shape[1]]
        start += expected.shape[1]
        scale = float(expected.abs().max())
        torch.testing.assert_close(part, expected, rtol=0, atol=rtol * scale, msg=lambda m, i=index: f"part {i}: {m}")
    assert start == found.shape[1]
    assert digest(network) == digest(network)
    return network


def kinds(network: Network) -> list[str]:
    """Activation, function and map names of a network, in order."""
    names: list[str] = []
    for node in network.nodes:
        match node.kind:
            case Elementwise(activation=activation):
                names.append(activation.name)
            case Vector(function=function):
                names.append(function.name)
            case Affine(map=linear_map):
                names.append(type(linear_map).__name__)
            case Opaque(code=code):
                names.append(code)
            case kind:
                names.append(type(kind).__name__)
    return names


def test_activations():
    layers = [
        *(nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.2), nn.PReLU(), nn.RReLU(), nn.ELU(0.5), nn.CELU(0.7), nn.SELU()),
        *(nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Softplus(2, 5), nn.Sigmoid(), nn.LogSigmoid()),
        *(nn.Tanh(), nn.Hardtanh(-0.5, 0.7), nn.Hardsigmoid(), nn.Hardswish(), nn.Softsign(), nn.Tanhshrink()),
        *(nn.Softshrink(0.3), nn.Hardshrink(0.3), nn.Threshold(0.1, 0.2)),
    ]
    network = checked(*layers, shape=(4,))
    found = [name for name in kinds(network) if name not in ("Reshape", "Concat")]
    assert len(found) == len(layers)
    assert {"softsign", "tanhshrink", "softshrink(0.3)", "hardshrink(0.3)", "gelu_tanh"} <= set(found)


def test_activations_written_out():
    network = checked(
        lambda x: x * torch.sigmoid(x),
        lambda x: torch.sigmoid(1.702 * x) * x,
        lambda x: x * torch.tanh(F.softplus(x)),
        lambda x: torch.maximum(x, torch.zeros_like(x)),
        lambda x: x.clamp(0, 1),
        lambda x, me: x.clamp(max=me.v),
        lambda x: torch.exp(-x.abs()),
        lambda x: torch.erf(torch.sin(x)) + torch.cos(x),
        lambda x: torch.log(x.abs() + 1).sqrt(),
        lambda x: x.abs() ** 1.5,
        shape=(4,),
    )
    found = kinds(network)
    assert {"silu", "quick_gelu", "mish", "relu"} <= set(found)
    assert not [name for name in found if name.startswith("NG")]


@pytest.mark.parametrize("threshold", [0.0, 1.0, 8.0])
def test_softplus_that_jumps_at_its_threshold_has_no_bound(threshold: float):
    # At 1 the value falls from log(1 + e) = 1.31 to 1.
    network = read(nn.Softplus(threshold=threshold), (3,))
    assert [kind.code for node in network.nodes if isinstance(kind := node.kind, Opaque)] == ["NG011"]
    with pytest.raises(DiscontinuousError):
        netgain.lipschitz(network)
    assert netgain.lipschitz(read(nn.Softplus(), (3,))).upper.value < 1.0 + 1e-12


def test_prelu_a_channel():
    assert "prelu(3 values)" in kinds(checked(nn.PReLU(3), shape=(3, 4)))


def test_gated_units_are_products():
    network = checked(nn.GLU(), lambda x: F.silu(x[:, :2]) * x[:, 2:], lambda x: x * x, shape=(4,))
    assert sum(isinstance(node.kind, Bilinear) for node in network.nodes) == 3


def test_convolutions_one_axis():
    checked(
        nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2),
        nn.Conv1d(4, 2, 4, padding="same"),
        nn.ConvTranspose1d(4, 3, 3, 2, 1, 1),
        nn.BatchNorm1d(4),
        nn.InstanceNorm1d(4, affine=True),
        nn.MaxPool1d(2),
        nn.AvgPool1d(3, 2, 1),
        nn.AdaptiveAvgPool1d(2),
        nn.AdaptiveMaxPool1d(2),
        nn.Upsample(scale_factor=1.5, mode="linear"),
        nn.Upsample(size=11, mode="nearest-exact"),
        nn.ReflectionPad1d(2),
        nn.ConstantPad1d((1, 2), 1.0),
        nn.LPPool1d(2, 2),
        shape=(4, 9),
    )


def test_convolutions_two_axes():
    network = checked(
        nn.Conv2d(4, 6, (3, 2), padding=(1, 0), groups=2),
        nn.Conv2d(4, 3, (4, 3), padding="same", dilation=(1, 2)),
        *(nn.Conv2d(4, 3, 3, padding=2, padding_mode=mode) for mode in ("reflect", "replicate", "circular")),
        lambda x: F.conv2d(F.pad(x, (1, 0, 2, 1)), torch.ones(2, 4, 2, 2, dtype=x.dtype)),
        nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2, dilation=2),
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, affine=False),
        nn.InstanceNorm2d(4, track_running_stats=True),
        nn.GroupNorm(2, 4),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.AdaptiveAvgPool2d((None, 3)),
        nn.AdaptiveMaxPool2d(2),
        shape=(4, 6, 7),
    )
    maps = [node.kind.map for node in network.nodes if isinstance(node.kind, Affine)]
    convolutions = [one for one in maps if isinstance(one, Conv)]
    assert [one.circular for one in convolutions] == [False, False, False, False, False, True]
    assert convolutions[0].padding == ((2, 1), (1, 0)), "zero padding before a convolution becomes its own"


def test_resampling():
    checked(
        *(nn.Upsample(scale_factor=2.0, mode=mode) for mode in ("nearest", "bilinear", "bicubic")),
        nn.Upsample(size=(5, 7), mode="bilinear", align_corners=True),
        lambda x: F.interpolate(x, size=(2, 3), mode="area"),
        lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
        nn.PixelShuffle(2),
        nn.PixelUnshuffle(2),
        nn.ChannelShuffle(2),
        nn.Unfold(2),
        nn.LPPool2d(2, 2),
        shape=(4, 4, 6),
    )


def test_three_axes():
    checked(
        nn.Conv3d(2, 3, 2),
        nn.ConvTranspose3d(2, 3, 2),
        nn.BatchNorm3d(2),
        nn.MaxPool3d(2),
        nn.AvgPool3d(2),
        nn.Upsample(scale_factor=2, mode="trilinear"),
        shape=(2, 4, 3, 4),
    )


def test_lengths_of_windows_are_one_vector_function():
    network = checked(nn.LPPool2d(2, (2, 3)), shape=(2, 4, 6))
    assert kinds(network)[0] == "l2_pool(2x3, stride 2x3)"


def test_normalizations():
    network = checked(
        nn.LayerNorm(4),
        nn.LayerNorm((3, 4), elementwise_affine=False),
        nn.RMSNorm(4, eps=1e-3),
        lambda x: F.normalize(x, dim=1),
        lambda x: x - x.mean(-1, keepdim=True),
        nn.Softmax(-1),
        nn.LogSoftmax(1),
        nn.Softmin(-1),
        shape=(3, 4),
    )
    assert "normalize(axis 0, eps=1e-12)" in kinds(network)


def test_rms_norm_takes_the_epsilon_of_the_models_dtype():
    network = read(nn.RMSNorm(4, elementwise_affine=False), (4,))
    x = torch.randn(3, 4, dtype=torch.float64) * 1e-3
    expected = F.rms_norm(x, (4,), eps=torch.finfo(torch.float32).eps)
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=0)


def test_batch_norm_carries_its_rounding_error():
    module = nn.BatchNorm1d(3).eval()
    with torch.no_grad():
        module.running_var.copy_(torch.tensor([0.3, 1.0, 7.0]))
        module.running_mean.copy_(torch.tensor([0.1, -2.0, 5.0]))
        module.weight.copy_(torch.tensor([1.0, 0.5, -3.0]))
    import mpmath

    network = read(module, (3,))
    kind = network.nodes[0].kind
    assert isinstance(kind, Affine)
    scale, error = kind.map.matrix().diagonal(), kind.map.uncertainty().matrix().diagonal()
    mpmath.mp.prec = 200
    for k in range(3):
        exact = mpmath.mpf(module.weight[k].item()) / mpmath.sqrt(mpmath.mpf(float(module.running_var[k])) + 1e-5)
        offset = mpmath.mpf(module.bias[k].item()) - mpmath.mpf(float(module.running_mean[k])) * exact
        assert abs(exact - float(scale[k])) <= float(error[k]) < 1e-14
        assert abs(offset - float(kind.bias[k])) <= float(kind.bias_error[k]) < 1e-14


def test_moving_entries():
    checked(
        lambda x: x.permute(0, 2, 1),
        lambda x: x[:, 1:, ::2],
        lambda x: x[:, 1],
        lambda x: x[:, [2, 0]],
        lambda x: x.index_select(1, torch.tensor([1, 1])),
        lambda x: torch.cat(x.split(2, 1)[::-1], 1),
        lambda x: x.chunk(2, -1)[1],
        lambda x: x.unbind(1)[0] + x.unbind(1)[2],
        lambda x: torch.stack([x, 2 * x], 1),
        lambda x: x.unsqueeze(1).expand(-1, 5, -1, -1),
        lambda x: x.repeat(1, 2, 1).repeat_interleave(2, 1),
        lambda x: x.flip(1).roll(1, 2),
        lambda x: F.pad(x, (-1, 2), value=-2.5),
        lambda x: x.unfold(2, 2, 1),
        lambda x: x.tril(),
        lambda x: x.flatten(1).unflatten(1, (2, 6)).movedim(1, 2),
        shape=(3, 4),
    )


def test_constants_join_in():
    network = checked(
        lambda x, me: torch.cat([me.v.expand(x.shape[0], 1, 4), x, me.v.expand(x.shape[0], 2, 4)], 1),
        lambda x, me: x + me.v,
        lambda x, me: me.v - x,
        lambda x, me: x * me.v / 3,
        lambda x, me: torch.add(x, me.v, alpha=0.3),
        lambda x: 1 - 0.1 * x,
        lambda x: x + torch.arange(x.shape[1] * 4).reshape(-1, 4),
        lambda x, me: x.masked_fill(me.v > 1, 2.0),
        lambda x, me: torch.where(me.v > 0, x, 2 * x),
        lambda x: torch.ones(x.shape[0], 3, dtype=x.dtype),
        shape=(3, 4),
    )
    assert not any(isinstance(node.kind, Opaque) for node in network.nodes)


def test_quotients_and_powers():
    checked(
        lambda x: 1 / (x * x + 2),
        lambda x: x**3 - x**2,
        lambda x: x / x.pow(2).mean(1, keepdim=True).add(1e-3).sqrt(),
        lambda x, me: torch.addcmul(x, x, me.v, value=0.3),
        nn.LocalResponseNorm(2),
        shape=(3, 4),
        rtol=1e-10,
    )


def test_matrix_products():
    network = checked(
        lambda x, me: x @ me.m,
        lambda x, me: me.m @ x,
        lambda x, me: x @ me.v,
        lambda x, me: torch.einsum("bij,kj->bik", x, me.m),
        lambda x, me: torch.matmul(x.unsqueeze(1), torch.stack([me.m, 2 * me.m])),
        lambda x, me: torch.addmm(me.v, x[:, 0], me.m),
        lambda x, me: torch.addmm(me.v, x[:, 0], me.m, beta=0.3, alpha=0.7),
        lambda x: x.cumsum(1),
        lambda x: x @ x.mT,
        shape=(4, 4),
    )
    assert sum(isinstance(node.kind, Bilinear) for node in network.nodes) == 1


def test_reductions():
    network = checked(
        lambda x: x.mean((1, 2)),
        lambda x: x.mean(1, keepdim=True),
        lambda x: x.sum(-1),
        lambda x: x.amax((1, 2)),
        lambda x: x.amin(1, keepdim=True),
        lambda x: x.max(1)[0],
        lambda x: x.min(1, keepdim=True).values,
        lambda x: torch.maximum(x, -x),
        lambda x, me: torch.minimum(x, me.v),
        lambda x: x.sort(-1, descending=True)[0],
        lambda x: x.topk(2)[0],
        lambda x: x.median(1)[0],
        lambda x: x.kthvalue(2, 1)[0],
        lambda x: x.logsumexp((1, 2)),
        lambda x: x.logsumexp(1, keepdim=True),
        shape=(3, 4),
    )
    assert not any(isinstance(node.kind, Opaque) for node in network.nodes)


def test_maxmin_is_one_sorting():
    """Apart, minimum and maximum would cost a factor of sqrt(2) a layer."""
    network = checked(
        lambda x: torch.cat([x.reshape(-1, 3, 2).min(2, True)[0], x.reshape(-1, 3, 2).max(2, True)[0]], 2).flatten(1),
        lambda x: torch.cat([torch.maximum(*x.chunk(2, 1)), torch.minimum(*x.chunk(2, 1))], 1),
        shape=(6,),
    )
    assert [node.kind.function.name for node in network.nodes if isinstance(node.kind, Vector)] == [
        "sort(axis 1)",
        "sort(axis 0, descending)",
    ]


def test_minimum_and_maximum_of_different_things_stay_apart():
    network = checked(lambda x: torch.cat([torch.maximum(x, 2 * x), torch.minimum(x, -x)], 1), shape=(4,))
    assert [name for name in kinds(network) if "sort" in name] == []


def test_without_a_rule_read_shown_and_run():
    network = checked(
        lambda x: torch.sign(x),
        lambda x: torch.round(x),
        lambda x: x.long().double(),
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: x.topk(2)[1],
        lambda x: x.argmax(-1),
        lambda x: x.std(-1),
        lambda x: torch.fft.rfft(x).abs(),
        lambda x: torch.atan(x),
        shape=(4,),
    )
    codes = {node.kind.code for node in network.nodes if isinstance(node.kind, Opaque)}
    assert codes == {"NG010", "NG011", "NG012"}
    steps = [
        node for node in network.nodes if isinstance(node.kind, Elementwise) and not node.kind.activation.continuous
    ]
    assert [node.kind.activation.name for node in steps] == ["sign", "round"]
    reason = next(node.kind.reason for node in network.nodes if isinstance(node.kind, Opaque))
    assert "test_read_torch_operations.py:" in reason


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5, 2, batch_first=True, bidirectional=True)
        self.gru, self.rnn, self.cell = nn.GRU(4, 5), nn.RNN(4, 5, batch_first=True), nn.GRUCell(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        by_time = self.gru(x.transpose(0, 1))[0].transpose(0, 1)
        return self.lstm(x)[0], self.lstm(x)[1][0][-1], by_time[:, -1], self.rnn(x)[1].squeeze(0), self.cell(x[:, 0])


def test_recurrent_layers():
    network = read(Recurrent().eval(), (3, 4))
    assert {node.kind.code for node in network.nodes if isinstance(node.kind, Opaque)} == {"NG010"}
    x = torch.randn(5, 3, 4, dtype=torch.float64)
    assert network(x).shape == (5, 3 * 10 + 5 + 5 + 5 + 3)


class Frames(nn.Module):
    """A convolution on every frame of a video: frames are merged into the batch."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.bn = nn.Conv2d(2, 3, 3), nn.GroupNorm(3, 3), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        frames = F.max_pool2d(self.bn(self.norm(self.conv(x.flatten(0, 1)))), 2)
        return self.head(frames.mean((2, 3)).unflatten(0, (x.shape[0], 3))).mean(1)


def test_frames_merged_into_the_batch():
    network = checked(Frames(), shape=(3, 2, 5, 5))
    assert not any(isinstance(node.kind, Opaque) for node in network.nodes)


@pytest.mark.parametrize("first", [True, False])
def test_transformer_layers(first: bool):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=first, activation="gelu")
    network = checked(layer, shape=(5, 8))
    opaque = [node.kind for node in network.nodes if isinstance(node.kind, Opaque)]
    assert [kind.code for kind in opaque] == ["NG012"]
    assert "attention" in opaque[0].reason


def test_sequence_first_attention():
    class SequenceFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x.transpose(0, 1)
            return self.attention(x, x, x)[0].transpose(0, 1)

    network = checked(SequenceFirst(), shape=(5, 8))
    assert sum(isinstance(node.kind, Bilinear) for node in network.nodes) == 2


def test_infinite_masks_are_only_run():
    network = checked(
        lambda x: (x @ x.mT + torch.full((3, 3), float("-inf"), dtype=x.dtype).triu(1)).softmax(-1) @ x,
        lambda x: (x @ x.mT).masked_fill(torch.ones(3, 3).triu(1).bool(), float("-inf")).softmax(-1) @ x,
        shape=(3, 4),
    )
    assert [node.kind.code for node in network.nodes if isinstance(node.kind, Opaque)] == ["NG010", "NG010"]


def test_vit_block():
    class ViT(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.cls = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 1, 8))
            self.position = nn.Parameter(torch.randn(1, 5, 8))
            self.n1, self.n2 = nn.LayerNorm(8), nn.LayerNorm(8)
            self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
            self.mlp, self.head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.position
            q, k, v = self.qkv(self.n1(x)).reshape(x.shape[0], 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
            x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))
            return self.head((x + self.mlp(self.n2(x)))[:, 0])

    network = checked(ViT(), shape=(3, 8, 8))
    assert {"layers.0.patch", "layers.0.mlp.1", "layers.0.head"} <= {node.name for node in network.nodes}
