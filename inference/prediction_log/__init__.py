"""Keeps what models predicted and the labels that came later, each of them exactly once.

The life of a row: a serving process writes it to the `spool`, or another application sends it (`api.py`, `imports`,
`events`). `ingest` stores it in one commit: a narrow row, which refuses a second row of its id, a chunk of columns
(`storage`), and the hour that it touched. The summaries count it once, upkeep packs its chunk with others, and
`retention` drops it, once it is in the `lake` where there is one. Until then `queries` reads it, and `erasure` can
remove it.

The life of a label (`labels`): it may come before or after its prediction, joins it by id, and may be corrected; the
summaries apply each change once. When the narrow row expires, the label moves into the chunk of its prediction.

Input: rows, labels and erasures.
Output: arrays for pages and `monitors`, files, and `signals.py`.

Start with `models.py`, then `ingest/store.py` and `labels/services.py`.
"""
