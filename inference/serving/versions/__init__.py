"""Brings versions into memory, and knows what their runs cost.

Input: a version of the plan. It is loaded, warmed and tried on what the champion was lately asked, in a thread,
before it answers anybody.
Output: a version that is ready to answer, with the codecs of its signature, and a prediction of how long each run
takes.

Start with `versions.py`, then `preparation.py`.
"""
