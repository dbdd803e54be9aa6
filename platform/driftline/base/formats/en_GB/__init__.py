"""The formats of British English, which is the language of all pages.

Start with `formats.py`.
"""
