"""Numbers as text, rounded so that the printed statement is still the proved one.

A proved upper bound of 1.23449 printed as 1.234 would be a false statement; here it prints as 1.235. Lower bounds
round down, upper bounds up, everything else to nearest. "Not below" means: the text, read as a float64, is not below.
"""

import decimal
import math
import unicodedata

from netgain.core.record import Rate

_DIGITS = 4


def upper(value: float | None, digits: int = _DIGITS) -> str:
    """An upper bound in decimal, never below `value`; "infinite" and "-" (None) as words."""
    return _text(value, digits, decimal.ROUND_CEILING)


def lower(value: float | None, digits: int = _DIGITS) -> str:
    """A lower bound in decimal, never above `value`."""
    return _text(value, digits, decimal.ROUND_FLOOR)


def nearest(value: float | None, digits: int = _DIGITS) -> str:
    """A measured number or a parameter in decimal, rounded to nearest."""
    return _text(value, digits, decimal.ROUND_HALF_EVEN)


def enclosure(low: float | None, high: float | None) -> str:
    """Both proved sides ("1.234 to 1.236"), one number where they agree, or the side that is known."""
    if low is None and high is None:
        return "-"
    if low is None or high is None:
        return f"<= {upper(high)}" if low is None else f">= {lower(low)}"
    if low == high == float(nearest(low)):
        return nearest(low)
    digits = _DIGITS
    if low > 0 and math.isfinite(high):
        apart = math.log10(min(max(high / low - 1, 1e-16), 1e16))
        digits = max(_DIGITS, min(6, 2 - math.floor(apart)))
    return f"{lower(low, digits)} to {upper(high, digits)}"


def percent(value: float, places: int = 1) -> str:
    """A proportion in percent, to nearest, except that only 1 prints as 100 and only 0 as 0."""
    return _percent(value, places, decimal.ROUND_HALF_EVEN)


def interval(rate: Rate) -> str:
    """The exact 95 % interval of a rate, rounded outwards: "[97.1, 98.3] %"."""
    low = _percent(rate.low, 1, decimal.ROUND_FLOOR).removesuffix(" %")
    high = _percent(rate.high, 1, decimal.ROUND_CEILING).removesuffix(" %")
    return f"[{low}, {high}] %"


def points(before: float, after: float) -> str:
    """The difference of two proportions in percentage points, signed: "+44.0 points"."""
    return f"{(after - before) * 100:+.1f} points"


def times(factor: float) -> str:
    """A factor as it is read: "x3.12"."""
    return f"x{nearest(factor, 3)}"


def count(value: int) -> str:
    """An integer with thousands separated."""
    return f"{value:,}"


def shape(size: tuple[int, ...]) -> str:
    """A shape without the batch axis: "1x28x28"; "scalar" for the empty shape."""
    return "x".join(str(axis) for axis in size) or "scalar"


def printable(text: str) -> str:
    """Text safe for a terminal line: control and format characters (escape sequences, text direction) as escapes."""
    return "".join(
        character if unicodedata.category(character)[0] != "C" else character.encode("unicode_escape").decode()
        for character in text
    )


def _text(value: float | None, digits: int, rounding: str) -> str:
    """Decimal text with that many significant digits, in that direction."""
    if value is None:
        return "-"
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if value == 0:
        return "0"
    rounded = _rounded(value, digits, decimal.ROUND_HALF_EVEN)
    wrong_side = float(rounded) < value if rounding == decimal.ROUND_CEILING else float(rounded) > value
    if wrong_side and rounding != decimal.ROUND_HALF_EVEN:
        rounded = _rounded(value, digits, rounding)
    if 1e-4 <= abs(value) < 1e7:
        plain = format(rounded, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    mantissa, _, exponent = format(rounded, f".{digits - 1}e").partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _rounded(value: float, digits: int, rounding: str) -> decimal.Decimal:
    """The float's exact decimal, rounded to that many significant digits."""
    return decimal.Context(prec=digits, rounding=rounding, Emin=-999999, Emax=999999).plus(decimal.Decimal(value))


def _percent(value: float, places: int, rounding: str) -> str:
    """A proportion times 100 with fixed places, kept off 0 and 100 unless it is one."""
    step = decimal.Decimal(1).scaleb(-places)
    scaled = (decimal.Decimal(value) * 100).quantize(step, rounding=rounding)
    if rounding == decimal.ROUND_HALF_EVEN:
        scaled = min(scaled, 100 - step) if value < 1 else scaled
        scaled = max(scaled, step) if value > 0 else scaled
    return f"{scaled} %"
