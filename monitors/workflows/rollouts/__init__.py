"""How a challenger takes over from the champion: by growing shares of the traffic, watched at each of them.

Input: the plan of a workflow, and what both versions did while the challenger answered a share.
Output: the share that the challenger answers, and after the promotion the measured repair.

The steps `rollout` and `watch` of a run call it. Every change of a share is one change of the deployment, in the
transaction that records it.

Start with `plan.py`; `checks.py` has the guards.
"""
