"""Encrypts the payloads of the log, and keeps the keys in order.

Input: chunks and folded labels on their way to and from the database.
Output: sealed bytes, or plain ones where the setting `DRIFTLINE_ENCRYPT_LOG` is off. The data keys lie beside the
chunks, sealed under a master key of the home, so that a new master key changes no chunk.

Start with `sealed_chunks.py`; `key_rotation.py` changes the master key, and `key_health.py` finds keys that are
missing.
"""
