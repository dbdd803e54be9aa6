"""The server as the agent sees it: who the device is, what it should answer with, and how both speak.

Start with `uplink.py`.
"""
