"""An exported graph with everything that does not depend on the input evaluated."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind

from netgain.core.errors import BatchCoupledError, DataDependentBranchError, ModelError, StatefulModelError
from netgain.network.read.provenance import source_of
from netgain.network.read.schema import argument_names, arguments, draws_random_numbers, operation_name

# Operations that read only their argument's shape.
_SHAPE_ONLY = ("sym_size", "sym_numel", "sym_stride", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones")
_ASSERTIONS = ("aten._assert", "aten.sym_constrain", "aten._assert_scalar", "aten._assert_async")


@dataclasses.dataclass(frozen=True)
class Program:
    """An exported graph, recorded at one batch size.

    Attributes:
        graph: the exported graph.
        batch: the batch size of the recording.
        inputs: placeholders of the model's tensor inputs.
        input_shapes: their shapes, batch included.
        constants: the value of each node that does not depend on the inputs' values, in the model's dtype.
        shapes: the shape of each tensor that does; None for a tuple of tensors.
        sized: nodes whose value depends on the batch size.
        outputs: what the model returns, in order: nodes or constants.
        parameters: for each placeholder of a parameter or buffer its name.
        eps: machine epsilon of the coarsest real dtype in the graph.
    """

    graph: fx.Graph
    batch: int
    inputs: tuple[fx.Node, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    constants: dict[fx.Node, Any]
    shapes: dict[fx.Node, tuple[int, ...] | None]
    sized: frozenset[fx.Node]
    outputs: tuple[Any, ...]
    parameters: dict[fx.Node, str]
    eps: float

    def run(self, inputs: tuple[Tensor, ...]) -> list[Any]:
        """The model's outputs at a batch of the recorded size, in float64, on the folded constants."""
        values: dict[fx.Node, Any] = dict(zip(self.inputs, map(to_double, inputs), strict=True))
        last = last_uses(self.graph)
        with torch.no_grad():
            for node in self.graph.nodes:
                if node.op == "call_function" and node in self.shapes:
                    values[node] = call_in_double(node, lambda used: self._lookup(used, values))
                for used in last.get(node, ()):
                    if used not in self.inputs:
                        values.pop(used, None)
        return [self._lookup(out, values) if isinstance(out, fx.Node) else out for out in self.outputs]

    def _lookup(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        """A node's value: computed, or a constant in float64."""
        return values[node] if node in values else to_double(self.constants[node])


def to_double(value: Any) -> Any:
    """Real and complex tensors in 64-bit parts; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return value.to(double_of(value.dtype))


def double_of(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which an operation is replayed: 64-bit for real and complex numbers, else unchanged."""
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype.is_floating_point else dtype


def call_in_double(node: fx.Node, lookup: Callable[[fx.Node], Any], **changed: Any) -> Any:
    """Run one operation on float64 arguments.

    Args:
        node: the call. A floating dtype among its own arguments becomes float64 too.
        lookup: the value of each node it reads.
        changed: arguments, by schema name, that replace the call's own.
    """
    args, kwargs = list(node.args), dict(node.kwargs)
    names = argument_names(node.target)
    for name, value in changed.items():
        if names.index(name) < len(args):
            args[names.index(name)] = value
        else:
            kwargs[name] = value
    args, kwargs = fx.map_arg((args, kwargs), lookup)
    kwargs = dict(kwargs)
    target: Any = node.target
    if target is torch.ops.aten.view.default:
        # The strides of a replayed argument may differ from the recorded one's.
        target = torch.ops.aten.reshape.default
    elif target is torch.ops.aten.rms_norm.default and (len(args) < 4 or args[3] is None):
        # Without eps the operation takes that of its dtype: the model's, not the replay's.
        kwargs["eps"], args = kwargs.get("eps") or torch.finfo(node.meta["val"].dtype).eps, args[:3]
    return target(*_double_dtypes(args), **_double_dtypes(kwargs))


def _double_dtypes(value: Any) -> Any:
    """Replace floating dtypes by float64."""
    if isinstance(value, torch.dtype):
        return double_of(value)
    if isinstance(value, dict):
        return {key: _double_dtypes(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_double_dtypes(item) for item in value)
    return value


def last_uses(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """For each node the nodes whose value is not needed after it."""
    last: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        for used in node.all_input_nodes:
            last[used] = node
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    last = {used: node for used, node in last.items() if used not in output.all_input_nodes}
    done: dict[fx.Node, list[fx.Node]] = {}
    for used, node in last.items():
        done.setdefault(node, []).append(used)
    return done


def record(exported: ExportedProgram, example: tuple[Tensor, ...]) -> Program:
    """Run an exported program once and keep what does not depend on its input.

    Input-independent parts (parametrizations, positional tables, masks) are evaluated in the model's own dtype: that
    is the weight the user runs.

    Args:
        exported: the program.
        example: one batch for each tensor input.

    Returns:
        The recorded program.

    Raises:
        StatefulModelError: if an operation is random or the model writes to its buffers.
    """
    _refuse_mutation(exported)
    recorder = _Recorder(exported, example)
    with torch.no_grad():
        for node in exported.graph.nodes:
            recorder.step(node)
    return recorder.program()


class _Recorder:
    """The state of one recording."""

    def __init__(self, exported: ExportedProgram, example: tuple[Tensor, ...]):
        self.exported, self.example = exported, list(example)
        self.specs = {spec.arg.name: spec for spec in exported.graph_signature.input_specs}
        self.values: dict[fx.Node, Any] = {}
        self.dependent: set[fx.Node] = set()
        self.sized: set[fx.Node] = set()
        self.shapes: dict[fx.Node, tuple[int, ...] | None] = {}
        self.inputs: list[fx.Node] = []
        self.parameters: dict[fx.Node, str] = {}
        self.eps = 0.0
        self.last = last_uses(exported.graph)

    def step(self, node: fx.Node) -> None:
        """Evaluate one node."""
        if node.op == "placeholder":
            self._placeholder(node)
        elif node.op == "get_attr":
            self.values[node] = operator.attrgetter(str(node.target))(self.exported.graph_module)
        elif node.op == "call_function":
            self._call(node)
        for used in self.last.get(node, ()):
            if used in self.dependent:
                del self.values[used]

    def _placeholder(self, node: fx.Node) -> None:
        """Bind a parameter, buffer, constant or input."""
        spec = self.specs[node.name]
        if spec.kind is not InputKind.USER_INPUT:
            name = str(spec.target)
            state, constants = self.exported.state_dict, self.exported.constants
            value = state[name] if name in state else constants[name]
            self.values[node] = value.detach() if isinstance(value, Tensor) else value
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
                self.parameters[node] = name
        elif isinstance(spec.arg, ConstantArgument):
            self.values[node] = spec.arg.value
        else:
            self.inputs.append(node)
            self._depend(node, self.example[len(self.inputs) - 1])

    def _call(self, node: fx.Node) -> None:
        """Run an operation and note whether its value depends on the input."""
        name = operation_name(node.target)
        if not node.users and name.startswith(_ASSERTIONS):
            return
        _refuse_randomness(node, name)
        reads = node.all_input_nodes
        args, kwargs = fx.map_arg((node.args, dict(node.kwargs)), lambda used: self.values[used])
        value = node.target(*args, **kwargs)  # type: ignore[operator]
        data = any(used in self.dependent for used in reads)
        if data and not any(f".{op}." in name for op in _SHAPE_ONLY):
            if isinstance(value, bool | int | float):
                raise DataDependentBranchError(f"{source_of(node)} turns an input value into a Python number")
            self._depend(node, value)
            return
        self.values[node] = value
        if data or any(used in self.sized for used in reads):
            self.sized.add(node)

    def _depend(self, node: fx.Node, value: Any) -> None:
        """Note a value that depends on the input."""
        self.dependent.add(node)
        self.values[node] = value
        self.shapes[node] = tuple(value.shape) if isinstance(value, Tensor) else None
        if isinstance(value, Tensor) and value.is_floating_point():
            self.eps = max(self.eps, torch.finfo(value.dtype).eps)

    def program(self) -> Program:
        """The finished recording."""
        kinds = [spec.kind for spec in self.exported.graph_signature.output_specs]
        returned = next(node for node in reversed(self.exported.graph.nodes) if node.op == "output").args[0]
        outputs = [out for out, kind in zip(returned, kinds, strict=True) if kind is OutputKind.USER_OUTPUT]  # type: ignore[arg-type]
        constants = {node: value for node, value in self.values.items() if node not in self.dependent}
        batch = {x.shape[0] for x in self.example if x.ndim}
        if len(batch) != 1:
            raise ModelError(f"the inputs' batch sizes differ: {[tuple(x.shape) for x in self.example]}")
        return Program(
            self.exported.graph,
            batch.pop(),
            tuple(self.inputs),
            tuple(tuple(x.shape) for x in self.example),
            constants,
            self.shapes,
            frozenset(self.sized),
            tuple(outputs),
            self.parameters,
            self.eps,
        )


def _refuse_mutation(exported: ExportedProgram) -> None:
    """Refuse programs that write to their buffers or inputs."""
    for spec in exported.graph_signature.output_specs:
        if spec.kind is OutputKind.BUFFER_MUTATION:
            raise StatefulModelError(f"the model writes to its buffer {spec.target!r} on every call")
        if spec.kind is OutputKind.USER_INPUT_MUTATION:
            raise StatefulModelError(f"the model writes into its input {spec.target!r}")


def _refuse_randomness(node: fx.Node, name: str) -> None:
    """Refuse operations that draw random numbers or use the statistics of the batch."""
    values = arguments(node)
    training = any(values.get(key) is True for key in ("train", "training"))
    if "batch_norm" in name and training:
        raise BatchCoupledError(f"{source_of(node)} is a batch normalization in training mode")
    if not draws_random_numbers(node.target):
        return
    if "train" in values or "training" in values:
        idle = not training
    else:
        idle = "dropout_p" in values and values["dropout_p"] == 0
    if not idle:
        raise StatefulModelError(f"{source_of(node)} draws random numbers")
