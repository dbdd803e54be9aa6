"""The commands of manage.py, and what several of them share.

Input: arguments of the command line.
Output: calls of the stages' services, and one closing line with counts.

Start with `commands`; `import_command.py` is the base of those that import files.
"""
