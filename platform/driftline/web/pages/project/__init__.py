"""The pages of a project: its people, roles, tokens and trail, and what is done to all of it.

Start with `projects.py`.
"""
