"""Objects: files of Parquet, CSV or NDJSON in a folder, or a bucket of S3, Azure or Google, each read once.

`listing.py` compares what a store lists with what was read before; `adapter.py` reads the rest, in the order of their
names. A partition is an object in one version (its ETag), an offset the number of a row, so that a kill resumes there.
Once an object is read whole, its position is added to that of all, and one compact row remains.

Start with `settings.py`, then `adapter.py`.
"""
