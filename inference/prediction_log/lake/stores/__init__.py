"""Where the files of a lake are written: a folder, or a bucket, with a marker that says whose it is.

Input: whole files. Output: files that are there whole, or not at all.

Start with `store.py`.
"""
