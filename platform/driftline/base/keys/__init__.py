"""Keys of the home, and what they seal and sign.

Input: the key files of the home, and keys that they succeeded.
Output: secrets sealed in their columns (`secrets_at_rest.py`), and signatures of what others pull (`signing.py`).

Start with `key_files.py`.
"""
