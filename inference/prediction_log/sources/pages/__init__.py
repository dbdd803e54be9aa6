"""The pages of sources: all of a project, the form of each kind, and messages that could not be stored.

Input: what people choose. Output: settings of sources, kept and tried by their services.

Start with `sources.py`.
"""
