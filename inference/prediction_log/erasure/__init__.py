"""Erases one person from everywhere: the log, files, references, reports and the audit trail.

Input: the key of a person. An erasure is a row with a lease; a worker does its steps one after another, each of which
may be repeated after a crash. Later stages provide steps of their own through `hooks.py`.
Output: a receipt that says what was erased, and that does not name the person.

Start with `services.py`, which lists the steps in order; `subject.py` says how a key is found in values and files.
"""
