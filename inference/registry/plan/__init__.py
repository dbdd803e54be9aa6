"""The serving plan: the file by which serving processes know models, versions and tokens without a database.

Input: deployments and tokens. Output: the plan, and whether the live processes have it.

Start with `publishing.py`.
"""
