"""The statistics: pure kernels. Arrays and summaries in, numbers out; no Django, no clock, no I/O.

Each folder answers one question: `drift`, `joint`, `performance`, `estimation`, `segments`, `causes`, `promotion` and
`streams`. All of them build on `mergeable`, the summaries with parts that add up to the whole. A kernel returns the
number; the threshold belongs to the caller.

Start with `mergeable/window_summary.py`, then `drift/judging.py`.
"""
