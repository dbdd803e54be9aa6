"""Evidently's reports, for a window that somebody asks for.

Input: a request with a preset and a window. A worker reads a sample of the rows of both sides, has Evidently compute
the report, and stores it as HTML and JSON.
Output: files, which the pages show in a sandbox.

Only `evidently.py` imports Evidently, and only within a task.

Start with `services.py`, then `building.py`.
"""
