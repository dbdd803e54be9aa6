"""Buckets and folders of objects, from which sources read and to which the lake writes.

`remote_store.py` lists, reads and writes over HTTP by signed requests; `bucket.py` is one of S3.

Start with `settings.py` and `store.py`.
"""
