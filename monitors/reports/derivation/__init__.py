"""Derives a stored decision again from stored rows, with the same kernels that made it, and compares both.

Input: an incident, a run or a prediction. Output: derivations, each of which says that both are equal, how they differ,
or that nothing is left to derive it from. Nothing is written.

Start with `result.py`.
"""
