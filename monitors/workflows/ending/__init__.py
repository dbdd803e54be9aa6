"""Ends of runs: what ends one from outside, its last state, and the events that tell of it.

Start with `finishing.py`.
"""
