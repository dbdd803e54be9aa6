"""The command line `driftline`: logs files, and shows models, incidents and runs, over Driftline's API.

Input: arguments, and the address and token of the environment or of `driftline login`.
Output: a table or one JSON document on standard output, progress and errors on standard error, and an exit code:
0 done, 1 refused or failed, 2 wrong usage, 3 nobody answers, 130 interrupted.

Start with `main.py`, then `commands.py`.
"""
