"""Takes summaries that were made elsewhere, as by a Spark job over rows that Driftline never sees.

Input: windows of a version, each an encoded `WindowSummary`, in batches that have an id.
Output: the same windows as if their rows had been logged, counted once however often a batch is sent.

Start with `services.py`; `layout.py` is what a job has to know before it summarises anything.
"""
