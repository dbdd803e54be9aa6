"""The pages of a model's versions: where each comes from, what the intake found, and which of them answers.

Start with `versions.py`.
"""
