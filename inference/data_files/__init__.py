"""Understands files of rows that people bring: what format they are in, and what each of their columns is.

Input: the first bytes of a file, and what is known of its model. Output: a `FileFormat`, a `FileReading` with the role
of each column, and a `Preview` of rows as they will be stored, with what should be looked at first.

Start with `preview.py`. Nothing here knows Django or a database: the page, the API and both importers share it.
"""
