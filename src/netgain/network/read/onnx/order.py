"""The nodes that an output needs, in an order in which each comes after what it reads."""

from collections.abc import Iterable, Mapping
from typing import Any

from netgain.core.errors import ModelError
from netgain.network.read.onnx.load import subgraphs


def free_names(node: Any) -> list[str]:
    """Names that a node reads, those its branches and loop bodies take from outside included."""
    names = [name for name in node.input if name]
    for graph in subgraphs(node):
        inside = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        read: list[str] = [value.name for value in graph.output]
        for inner in graph.node:
            read += free_names(inner)
            inside.update(name for name in inner.output if name)
        names += [name for name in read if name not in inside]
    return names


def in_order(nodes: Iterable[Any], known: Iterable[str], wanted: Iterable[str]) -> list[Any]:
    """The nodes that `wanted` depends on, sorted.

    Args:
        nodes: node protos in any order.
        known: names that are given: inputs, initialisers, the surroundings of a branch.
        wanted: names that are asked for.

    Raises:
        ModelError: if a name is defined twice or never, or nodes read each other in a circle.
    """
    given = set(known)
    producers: dict[str, Any] = {}
    for node in nodes:
        for name in node.output:
            if name and (name in producers or name in given):
                raise ModelError(f"the tensor {name!r} is defined twice")
            if name:
                producers[name] = node
    needs: dict[int, list[str]] = {}
    order: list[Any] = []
    state: dict[int, int] = {}
    for target in wanted:
        stack = [(_producer(target, producers, given, "the output"), 0)]
        while stack:
            node, position = stack.pop()
            if node is None or state.get(id(node)) == 2:
                continue
            reads = needs.setdefault(id(node), free_names(node))
            if position == 0:
                state[id(node)] = 1
            if position == len(reads):
                state[id(node)] = 2
                order.append(node)
                continue
            stack.append((node, position + 1))
            label = node.name or node.op_type
            needed = _producer(reads[position], producers, given, f"the node {label!r}")
            if needed is not None and state.get(id(needed)) == 1:
                raise ModelError(
                    f"the nodes {label!r} and {needed.name or needed.op_type!r} read each other in a circle"
                )
            if needed is not None and id(needed) not in state:
                stack.append((needed, 0))
    return order


def _producer(name: str, producers: Mapping[str, Any], given: set[str], reader: str) -> Any:
    """The node that computes a name; None where it is given.

    Raises:
        ModelError: if nothing does.
    """
    if name in given:
        return None
    if name not in producers:
        raise ModelError(f"{reader} reads the tensor {name!r}, which nothing defines")
    return producers[name]
