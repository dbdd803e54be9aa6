"""The commands that an operator types: one file each, named like the command.

Input: arguments. Each command makes calls to the services of a stage and prints what it did. `up.py`, `down.py` and
`serve.py` run an installation, `doctor.py` and `check_invariants.py` examine one, `token.py` makes tokens.

Start with `serve.py`; `python manage.py help` lists all.
"""
