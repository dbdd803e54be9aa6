"""Users, projects, teams, API tokens and quotas.

Input: the changes that other stages make.
Output: projects and their members, tokens, and signals when tokens change, because serving processes know tokens too.
`access/` finds the caller of a request and what it may do, `audit/` keeps every change.

Start with `models.py` and `services.py`.
"""
