"""Sending: items wait in memory or on disk, and go out in batches from a thread of its own.

Start with `delivery.py`.
"""
