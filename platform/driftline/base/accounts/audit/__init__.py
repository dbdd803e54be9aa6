"""The audit trail: a chain of entries that cannot be changed, and from where each change came.

Input: the changes that services make, and sign-ins (`sign_ins.py`).
Output: entries in a chain of hashes (`chain.py`), and what people read of them (`trail.py`).

Start with `chain.py`.
"""
