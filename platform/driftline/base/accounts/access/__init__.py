"""Who may do what: scopes, the rights and roles that hold them, and the caller of a request.

Input: a bearer token or a session.
Output: the caller with its scopes (`http_auth.py`), or a refusal that says which scope it lacks.

Start with `scopes.py`.
"""
