"""The pages of who is in a project: members, their roles, and teams.

Input: what an admin chooses. Output: changes by the services of accounts, and what depends on each.

Start with `members.py`.
"""
