"""The Django admin: for whoever operates an installation, across all projects.

History is read-only. What changes something calls the service that pages and the API call, after a question, and leaves
the same audit row. `rows.py` says which rows are shown and what may be done to them, `sections.py` in which order, and
`home.py` makes the first page, which shows what needs somebody. The rows of a feature are beside its own pages.

Start with `rows.py`.
"""

from importlib import import_module

from driftline.base.feature import features
from driftline.web.admin import erasures, people, rows  # noqa: F401  Django looks for what they register

for _feature in features():
    if _feature.admin:
        import_module(_feature.admin)
