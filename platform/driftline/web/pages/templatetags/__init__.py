"""Template filters and tags, which Django loads into every template of the pages.

Input: numbers, times and states.
Output: the text that pages show, in one form for the same kind of value.

Start with `figures.py`, which is all of it.
"""
