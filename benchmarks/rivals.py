"""Public tools for the global l2 constant of fully connected ReLU networks, each behind one function.

`make rivals` installs them. A missing one gives no rows.
"""

import contextlib
import dataclasses
import importlib.util
import io
import math
import time
from typing import Any

import numpy
import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a tool returned.

    Attributes:
        value: its bound of L; NaN where it failed.
        seconds: wall time.
        note: what it said about itself.
    """

    value: float
    seconds: float
    note: str = ""


def present(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def eclipse_fast(weights: list[Tensor]) -> Answer | None:
    """The closed form of eclipse-nn (method ECLipsE_Fast)."""
    return _eclipse(weights, "ECLipsE_Fast")


def eclipse(weights: list[Tensor]) -> Answer | None:
    """The layerwise semidefinite programs of eclipse-nn (method ECLipsE, solved by SCS)."""
    return _eclipse(weights, "ECLipsE")


def _eclipse(weights: list[Tensor], method: str) -> Answer | None:
    """Run eclipse-nn; what it prints is its only sign that it gave up and returned the closed form."""
    if not present("eclipse_nn"):
        return None
    estimator: Any = importlib.import_module("eclipse_nn.LipConstEstimator").LipConstEstimator
    printed = io.StringIO()
    began = time.perf_counter()
    with contextlib.redirect_stdout(printed):
        try:
            value = float(estimator(weights=[weight.clone() for weight in weights]).estimate(method))
        except Exception as error:  # a rival may fail in any way; the table says so
            return Answer(math.nan, time.perf_counter() - began, type(error).__name__)
    fell_back = "Falling back" in printed.getvalue()
    return Answer(value, time.perf_counter() - began, "gave its closed form" if fell_back else "")


def lipsdp(weights: list[Tensor], solver: str = "CLARABEL") -> Answer | None:
    """LipSDP with one multiplier a neuron, written for cvxpy, as the semidefinite program it is.

    Variables: rho = L^2 and T_k >= 0. With the stacked increments of the input and of each hidden layer,

        rho |x|^2 - |W_K y_(K-1)|^2 + sum_k y_k^T T_k (y_k - W_k y_(k-1)) >= 0.
    """
    if not present("cvxpy"):
        return None
    cvxpy: Any = importlib.import_module("cvxpy")
    reduced = [numpy.asarray(weight) for weight in weights]
    # The input enters through the first matrix only: at most as many dimensions as it has rows.
    if reduced[0].shape[1] > reduced[0].shape[0]:
        reduced[0] = numpy.linalg.qr(reduced[0].T)[1].T
    sizes = [reduced[0].shape[1], *(weight.shape[0] for weight in reduced[:-1])]
    starts = numpy.concatenate([[0], numpy.cumsum(sizes)])
    total = int(starts[-1])
    place = [numpy.eye(total)[starts[k] : starts[k + 1]] for k in range(len(sizes))]
    rho = cvxpy.Variable(nonneg=True)
    multipliers = [cvxpy.Variable(size, nonneg=True) for size in sizes[1:]]
    out = reduced[-1] @ place[-1]
    form = rho * (place[0].T @ place[0]) - out.T @ out
    for k, multiplier in enumerate(multipliers, start=1):
        inside = place[k].T @ cvxpy.diag(multiplier) @ (place[k] - reduced[k - 1] @ place[k - 1])
        form = form + (inside + inside.T) / 2
    problem = cvxpy.Problem(cvxpy.Minimize(rho), [form >> 0])
    began = time.perf_counter()
    try:
        problem.solve(solver=solver)
        value = math.sqrt(max(0.0, float(rho.value)))
    except Exception as error:  # as above
        return Answer(math.nan, time.perf_counter() - began, type(error).__name__)
    return Answer(value, time.perf_counter() - began, str(problem.status))


def warm_up() -> None:
    """Import what is there, so that no first call is charged for it."""
    tiny = [torch.ones(2, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)]
    for tool in (eclipse_fast, eclipse, lipsdp):
        tool(tiny)
