"""The pages of the dashboard, rendered on the server.

Input: requests of people who are signed in. `access.py` finds their project and checks their role, a view reads
through the selectors of the stages and `queries.py`, and changes go through the stages' services, as those of the API
do.
Output: HTML of `templates/pages`, which has the same folders, with pictures that `charts/` beside this folder draws.

Start with `access.py` and `overview.py`; each module is one page or one part of several pages, in the folder of its
subject.
"""
