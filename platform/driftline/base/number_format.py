"""How numbers read on pages, in titles and in messages."""

import math

DIGITS = 3
MAX_DIGITS = 6


def format_number(number: float, digits: int = DIGITS, *, pad: bool = False) -> str:
    """Write a number with `digits` significant digits, and whole above a thousand.

    With `pad`, zeros at the end of a fraction stay, so that the numbers of a column have one width.
    """
    if math.isfinite(number) and abs(float(f"{number:.{digits}g}")) >= 1000:
        return f"{number:,.{max(0, digits - DIGITS)}f}"
    if pad and not float(number).is_integer():
        return f"{number:#.{digits}g}".rstrip(".")
    return f"{number:.{digits}g}"


def format_pair(value: float | None, threshold: float) -> tuple[str, str]:
    """Write a value and its threshold with as few digits as keep the two apart."""
    if value is None:
        return "without a value", format_number(threshold)
    for digits in range(DIGITS, MAX_DIGITS + 1):
        pair = format_number(value, digits), format_number(threshold, digits)
        if pair[0] != pair[1] or value == threshold:
            break
    return pair
