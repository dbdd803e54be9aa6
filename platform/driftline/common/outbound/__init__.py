"""Which servers Driftline may call for its users: webhooks, callbacks and remote models.

Input: the URL that a user named and the networks that the operator allows.
Output: a target with a checked address, or a refusal, as for every private address that the operator does not allow.

Start with `targets.py`; `addresses.py` says which addresses are public, and `rules.py` holds the operator's settings.
"""
