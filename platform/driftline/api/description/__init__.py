"""The description of the API: `openapi.json`, and the page that shows it.

Start with `openapi.py`.
"""
