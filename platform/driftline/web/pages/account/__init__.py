"""The pages of a person's own account, and the one on which they join a project.

Start with `profile.py`.
"""
