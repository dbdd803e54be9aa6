"""How good a model's predictions probably are before labels come.

Input: the scores of a window and what the reference shows of calibration and errors.
Output: expected metrics with intervals: CBPE for classes, and DLE for numbers (`learnt_errors.py`).

Start with `expectation.py`.
"""
