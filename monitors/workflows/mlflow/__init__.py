"""An MLflow registry that a model follows: versions come from it, and the verdict goes back to it.

Input: a model's connection (`models.py`), polls of the clock, and MLflow's webhooks (`webhooks.py`).
Output: the version to which the followed alias points, through the sandboxed intake into a run that begins at the
shadow (`taking.py`); after the run MLflow's alias `champion` and tags with the evidence (`reporting.py`).

A webhook only says that it is time to ask: what MLflow answers to `following.py` is what counts, so that one which is
late, doubled or out of order changes nothing.

Start with `following.py`.
"""
