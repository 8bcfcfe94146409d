"""What an argument may be: whole numbers and numbers, Python's or NumPy's. A refusal names it and shows what came."""

import math
import operator
from numbers import Real

from kwsrt.errors import OptionError

# What C takes for a count.
LARGEST_INT = (1 << 31) - 1


def whole(value: object, name: str, low: int, high: int) -> int:
    """The argument `name` as an int from `low` to `high`.

    Raises
    ------
    OptionError : a number outside them, a float (even 3.0), True or False, or no number.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or not low <= number <= high:
        raise OptionError(f"{name} is {shown(value)}: expected a whole number from {low:,} to {high:,}")
    return number


def number(value: object, name: str, low: float = -math.inf, high: float = math.inf, what: str = "") -> float:
    """The argument `name` as a finite float from `low` to `high`. `what` : what the message says was expected.

    Raises
    ------
    OptionError : a number outside them, NaN, infinity, True or False, or no number.
    """
    try:
        found = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        found = math.inf
    if not (math.isfinite(found) and low <= found <= high):
        if not what and low > -math.inf:
            what = f"a number of {low:g} or more" if high == math.inf else f"a number from {low:,.10g} to {high:,.10g}"
        raise OptionError(f"{name} is {shown(value)}: expected {what or 'a finite number'}")
    return found


def shown(value: object) -> str:
    """A value as a message shows it: short, and printable."""
    try:
        return f"{value!a:.60}"
    except Exception:  # an int of thousands of digits, or what the object's own __repr__ raises
        return f"of type {type(value).__name__}"
