"""Whether a challenger is better than the champion.

Input: the answers of both versions, on the same requests (`paired.py`) or each on its own (`unpaired.py`), and labels
where they have come.
Output: evidence that may be read at any time (`sequential.py`), a verdict: promote, reject or wait (`gate.py`),
and whether a rollout does harm (`guards.py`).

Start with `gate.py`.
"""
