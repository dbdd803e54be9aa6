"""Sign-in by an identity provider of the organisation, over OpenID Connect, or over SAML (`saml`).

Input: the file that DRIFTLINE_SIGN_IN_FILE names, the answers of the providers in it, and their logout requests.
Output: accounts, sessions that end in time, roles and teams by the groups that a provider says; each leaves audit rows.

allauth keeps the state of a sign-in, exchanges the code and runs the second factor.

Start with `configuration.py`; `claims.py` says when a provider is believed, `people.py` who gets in, `roles.py` what
they may do.
"""
