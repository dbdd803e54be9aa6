"""What a run begins with: its training data, the order to its trainer, and files that come from other servers.

What starts a run lies in `triggers` beside this folder.

Start with `snapshots.py`.
"""
