"""Which servers Driftline may call for its users: webhooks, callbacks, remote models and training pipelines.

Input: the URL that a user named and the networks that the operator allows.
Output: a target with a checked address, or a refusal, as for every private address that the operator does not allow.

Start with `targets.py`; `addresses.py` says which addresses are public, `rules.py` holds the operator's
settings, `transport.py` sends a request and `json_calls.py` one of JSON; `secrecy.py` hides the secrets that an
answer repeats.
"""
