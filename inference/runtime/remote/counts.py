"""How this process's calls to other servers ended."""

from collections import Counter

CALLS: Counter[tuple[int, str, str]] = Counter()
"""Model id, version, outcome -> calls.

Outcomes are `answered`, `refused` (the values), `ended` (our caller's deadline), `retried` (and then counted again by
its end), `circuit_open` (not made), and the kinds of `UpstreamFailed`: unreachable, status, busy, garbage, timeout,
credential, unknown_model, blocked, loop.
"""
