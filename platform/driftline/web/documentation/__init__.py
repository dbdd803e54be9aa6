"""The documentation under /docs/.

Input: the pages that `make docs` has Sphinx build of the Markdown in `docs/`.
Output: answers with these pages, and with what to do where they were not built.

Start with `views.py`.
"""
