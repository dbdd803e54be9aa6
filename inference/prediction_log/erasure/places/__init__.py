"""Where a subject's rows may lie, each place with how they are erased there.

Input: an erasure, and the hashes of its subject.
Output: how many rows were erased, and what is left to do.

Start with `tables.py`.
"""
