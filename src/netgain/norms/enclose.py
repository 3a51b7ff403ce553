"""Enclosures of operator norms: one place that fixes the quantity's name and keeps the sides in order."""

from netgain.core.norms import Norm
from netgain.core.results import Bound, Enclosure, Side

OPERATOR_NORM = "operator norm"


def operator_enclosure(
    lower: float, upper: float, norm: Norm, *, lower_method: str, upper_method: str, quantity: str = OPERATOR_NORM
) -> Enclosure:
    """The enclosure lower <= norm of the operator <= upper.

    Args:
        lower: a proved lower bound.
        upper: a proved upper bound.
        norm: the norm of inputs and outputs.
        lower_method: how the lower side was proved.
        upper_method: how the upper side was proved.
        quantity: what is enclosed.

    Returns:
        The two bounds; the constructor refuses lower > upper.
    """
    return Enclosure(
        Bound(value=lower, side=Side.LOWER, quantity=quantity, norm=norm, method=lower_method),
        Bound(value=upper, side=Side.UPPER, quantity=quantity, norm=norm, method=upper_method),
    )
