"""The documentation: its tables that are written from the code, and the view that serves the built pages.

The pages are Markdown in `docs/`. `reference.py` has a function for each table; `manage.py write_reference` puts the
tables into the pages, and `make check` fails if one is stale. `make docs` has Sphinx build the pages, and `views.py`
serves them under /docs/.
"""
