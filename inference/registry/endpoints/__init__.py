"""Versions that another server answers: their description, their trial and how they are stored.

Input: a URL with credentials, as a caller describes it. The server is asked before the version is stored.
Output: a version with a plan entry by which serving processes reach the server; the credential is encrypted.

Start with `services.py`; `probe.py` has the first questions to the server.
"""
