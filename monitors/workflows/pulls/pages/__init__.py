"""The page of pulls: versions that are fetched from an address.

Input: an address. Output: a pull, whose version the intake examines.

Start with `pulls.py`.
"""
