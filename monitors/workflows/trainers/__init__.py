"""Trainers: a snapshot of labelled data in, an ONNX model with its evidence out.

Everything here is pure: no Django, no database, no broker. A trainer runs in a subprocess (`launch.py`, `child.py`)
without the credentials of the platform, behind walls (`walls.py`). A trainer is an entry point that the operator
allows.

Start with `catalogue.py`, then `scikit.py`.
"""
