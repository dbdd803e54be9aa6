"""The documentation: its tables that are written from the code, and the view that serves the built pages.

Input: the Markdown pages in `docs/`, and the code that the tables describe.
Output: the tables in the pages, which `manage.py write_reference` writes and `make check` compares, and the pages that
`make docs` has Sphinx build and that `views.py` serves under /docs/.

Start with `reference.py`, which has a function for each table.
"""
