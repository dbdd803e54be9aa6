"""The evidence pack of one model and period: what was served, watched and decided, and what was not watched.

Input: stored rows of every stage: registry, summaries, points, incidents, runs and the audit trail. No row of the log
is read, so a model that keeps none has a pack too.
Output: sections of sentences and tables, written as JSON by `msgspec`, as a page without scripts and as PDF
by a template each, so that all say the same.

Start with `pack.py`.
"""
