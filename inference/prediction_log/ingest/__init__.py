"""Brings rows into the log: from the spool of serving processes, and from the logging API.

Input: records of the spool, which the drain reads in their order, and bodies of requests, which are parsed strictly
and checked against what the model allows.
Output: one commit for each batch: narrow rows, chunks, joined labels, touched hours and the place up to which the
spool is stored, so that a killed process stores no row twice and loses none.

Start with `store.py`; `drain.py` and `parsing.py` are the two ways in.
"""
