"""How metric points are stored: a row for many points, one row a measure and window.

Input: measured points (`points.py`).
Output: packed rows (`packing.py`), written at once (`storing.py`), and read as the view of points in `models.py`.

Start with `models.py`, then `packing.py`; docs/architecture/store.md describes the way of a point.
"""
