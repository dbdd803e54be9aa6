"""Running an installation: its processes, health, backups, upgrades, keys, metrics and configuration as code.

Input: what an operator asks for by a command, and the state of the processes and the database.
Output: a running installation, findings that say what to do, and figures for other systems.

Start with `services/`, which starts everything.
"""
