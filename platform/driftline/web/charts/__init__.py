"""Pictures of figures: drawn on the server as SVG, and the same as Plotly figures for zooming.

Input: windows with values, limits and statuses, or bins of a column.
Output: SVG that needs no script (`svg.py`), and figures for Plotly (`plotly_figures.py`).

Start with `svg.py`.
"""
