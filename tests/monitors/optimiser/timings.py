"""Timings of variants."""

from inference.runtime.variants.measuring import Timing


def timing(ratio: float = 1.0, *, rows: int = 1, wide: float = 0.0, p99_us: float = 20.0) -> Timing:
    return Timing(
        rows=rows,
        turns=100,
        original_us=(9.0, 10.0, 11.0),
        variant_us=(9.0 * ratio, 10.0 * ratio, 11.0 * ratio),
        original_p99_us=20.0,
        variant_p99_us=p99_us,
        ratio=ratio,
        ratio_lower=ratio - wide,
        ratio_upper=ratio + wide,
    )
