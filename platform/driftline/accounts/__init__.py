"""Users, projects, roles, API tokens and the audit trail.

Input: sign-ins, bearer tokens and the changes that other stages make.
Output: the caller of a request with its scopes (`http_auth.py`), the right to change something (`scopes.py`,
`rights.py`), and audit entries that cannot be changed (`audit_chain.py`), and signals when tokens change, because
serving processes know tokens too.

Start with `scopes.py`, then `models.py` and `services.py`.
"""
