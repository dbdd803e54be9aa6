"""How numbers read."""

import pytest

from driftline.base.number_format import format_number, format_pair


@pytest.mark.parametrize(
    ("number", "text", "padded"),
    [
        (0.68, "0.68", "0.680"),
        (0.0, "0", "0"),
        (5.0, "5", "5"),
        (-2.5, "-2.5", "-2.50"),
        (320.4, "320", "320"),
        (999.96, "1,000", "1,000"),
        (1_234_567.8, "1,234,568", "1,234,568"),
        (0.00001, "1e-05", "1.00e-05"),
        (float("inf"), "inf", "inf"),
    ],
)
def test_a_number_has_three_significant_digits(number: float, text: str, padded: str) -> None:
    assert (format_number(number), format_number(number, pad=True)) == (text, padded)


@pytest.mark.parametrize(
    ("value", "threshold", "pair"),
    [
        (0.61, 0.55, ("0.61", "0.55")),
        (0.20004, 0.2, ("0.20004", "0.2")),
        (1_000.4, 1_000.0, ("1,000.4", "1,000.0")),
        (0.2, 0.2, ("0.2", "0.2")),
        (None, 0.2, ("without a value", "0.2")),
    ],
)
def test_a_value_differs_from_its_threshold(
    value: float | None, threshold: float, pair: tuple[str, str]
) -> None:
    assert format_pair(value, threshold) == pair
