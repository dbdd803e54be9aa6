"""The optimiser: variants of a version that cost less, with a verdict on each.

Input: a version that somebody wants optimised. A worker builds each kind of variant behind the intake's walls,
measures it on rows of the log or of the reference, and judges what it gains and what it costs in quality.
Output: variants with a verdict, of which a person may register one as a version.

Start with `services.py`, then `work.py`; `judging.py` holds what a variant may cost.
"""
