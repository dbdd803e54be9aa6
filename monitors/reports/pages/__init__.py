"""The pages of reports: all of a model, one report, and Evidently's verdicts beside ours.

Input: a period and a preset. Output: reports, built by workers.

Start with `reports.py`.
"""
