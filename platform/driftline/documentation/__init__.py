"""The documentation: its tables that are written from the code, and the view that serves the built pages.

The pages are Markdown in `docs/`. `reference.py` has a function for each table; `manage.py write_reference` puts the
tables into the pages, and `make check` fails if one is stale. `make docs` has Sphinx build the pages, and `views.py`
serves them under /docs/.

Input: settings, commands, routes, scopes, metrics and import contracts; the files that Sphinx built.
Output: tables in `docs/`, and the answers under /docs/.

Start with `reference.py`.
"""
