"""How people sign in: passwords, invitations, resets, single sign-on, and accounts from a directory.

Input: forms, the answers of identity providers, and what a directory sends.
Output: sessions of people, or a refusal that is in the audit trail.

Start with `adapter.py`, which decides for allauth, and `single_sign_on/`.
"""
