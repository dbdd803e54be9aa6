"""The pages of models: all of a project, one with its health, its settings, and how it is served.

The pages of versions are in `versions/`.

Start with `model.py`.
"""
