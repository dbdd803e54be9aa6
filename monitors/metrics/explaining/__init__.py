"""Why a metric is as it is: features and segments that explain a window, and where in time it changed.

Input: summaries and points. Output: ranked causes in sentences, and change points.

Start with `causes.py`.
"""
