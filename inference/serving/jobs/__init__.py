"""Asynchronous inference: requests that are answered later.

Input: requests of callers that prefer to wait for less than the answer takes. A job is a folder on disk, so that any
serving process can run it, and none dies with a process.
Output: its state and its answer, until they expire, and a callback where the request named one.

Start with `service.py`, then `store.py`; `api.py` is what callers ask.
"""
