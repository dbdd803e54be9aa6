"""Reading a source: messages become rows and positions in one transaction, whatever fails meanwhile.

Input: the adapters of the kinds of sources, and their mappings.
Output: stored rows, dead letters, and how far each partition is read.

Start with `consuming.py`, the loop.
"""
