"""Whether all columns together moved, which no column may show by itself.

Input: rows of a window and of its reference as one table of numbers.
Output: two statistics, from a domain classifier and from a PCA reconstruction, and a decision against what the
reference does when it is split in two.

Start with `judging.py`.
"""
