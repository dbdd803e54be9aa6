"""Summarises on a Spark cluster what is larger than one machine, with the kernels that Driftline itself has.

Input: a DataFrame of logged predictions, in batches or as a stream, and a token that may log.
Output: the same summaries that Driftline would have kept of these rows, added by `PUT /api/v1/models/{m}/summaries`.

Start with `job.py`. `row_summaries.py` runs on each worker and needs no Spark; `logged_rows.py` reads the rows for it.
`model_api.py` talks to Driftline, and `bundle.py` packs what workers have to import.
"""
