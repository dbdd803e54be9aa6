"""What the gate knows: champion and challenger side by side, and whether the labels that judge them can be trusted.

Input: predictions and labels of both versions. Output: evidence, and its reasons in sentences.

Start with `pairs.py`.
"""
