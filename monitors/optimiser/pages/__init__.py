"""The optimiser's table on the page of a version: asked for, followed, and a row of it made a version.

Input: the measured variants. Output: versions, and work for the optimiser.

Start with `variants.py`.
"""
