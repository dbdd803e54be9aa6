"""Reading files of predictions: what each column means, and blocks of rows as the columns that the log takes.

Input: CSV, Parquet and Arrow streams, and the signatures of the model's versions.
Output: arrays, and what is wrong with which row.

Start with `source.py` and `layout.py`.
"""
