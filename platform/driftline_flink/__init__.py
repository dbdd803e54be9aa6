"""Summarises on a Flink cluster what is larger than one machine, with the kernels that Driftline itself has.

Input: a Table of logged predictions, bounded or as a stream, and a token that may log.
Output: the same summaries that Driftline would have kept of these rows, added by `PUT /api/v1/models/{m}/summaries`.

`job.py` is all of it; what runs on workers and talks to Driftline is that of `driftline_spark`.
"""
