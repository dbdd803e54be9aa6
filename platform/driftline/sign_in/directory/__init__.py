"""Accounts and groups that an identity provider keeps here by itself, over SCIM 2.0 (RFC 7643 and RFC 7644).

Input: requests to /scim/v2/ with a token of `manage.py scim_token`, which stands for one provider.
Output: accounts made, changed, switched off and on; groups with their members, and the roles that they give.

Start with `views.py`; `people.py` and `groups.py` write, `documents.py` and `patches.py` read what is sent.
"""
