"""Numbers of a configuration within their ranges: refused by name when an object is made, not after hours of training.

Each function takes what is to be checked by its name; None, an option that was left out, always passes::

    at_least(1, batch_size=batch_size, steps_per_epoch=steps_per_epoch)
"""

import math
from collections.abc import Sequence


class RangeError(ValueError):
    """A number out of its range. The message begins with its name, and says what was found and expected."""

    def __init__(self, name: str, found: object, expected: str) -> None:
        super().__init__(f"{name}: found {found}, expected {expected}.")


def at_least(least: float, **numbers: float | None) -> None:
    """Refuse numbers below ``least``, infinite ones, and NaN.

    Raises:
        RangeError: the first such number.
    """
    for name, value in numbers.items():
        if value is not None and not (math.isfinite(value) and value >= least):
            raise RangeError(name, value, f"{least:g} or more")


def above(bound: float, **numbers: float | None) -> None:
    """Refuse numbers up to ``bound``, infinite ones, and NaN.

    Raises:
        RangeError: the first such number.
    """
    for name, value in numbers.items():
        if value is not None and not (math.isfinite(value) and value > bound):
            raise RangeError(name, value, f"a number above {bound:g}")


def shares(**numbers: float | None) -> None:
    """Refuse what is no share or probability, i.e. not in [0, 1].

    Raises:
        RangeError: the first such number.
    """
    for name, value in numbers.items():
        if value is not None and not 0 <= value <= 1:
            raise RangeError(name, value, "a share from 0 to 1")


def ordered(least: float | None = None, **ranges: Sequence[float]) -> None:
    """Refuse ranges whose ends are exchanged, or not finite.

    Args:
        least: where given, the lower end must be above it.
        ranges: lower and upper end of each.

    Raises:
        RangeError: the first such range.
    """
    for name, (low, high) in ranges.items():
        finite = math.isfinite(low) and math.isfinite(high)
        if not finite or low > high or (least is not None and low <= least):
            above_what = "" if least is None else f" above {least:g}"
            raise RangeError(name, f"{low:g} to {high:g}", f"a lower end{above_what} and an upper one not below it")
