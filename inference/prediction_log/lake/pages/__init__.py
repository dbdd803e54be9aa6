"""The pages of the lake: where a project's rows are written as files, and how far.

Input: what people choose. Output: the settings of the lake, kept and tried by its services.

Start with `lake.py`.
"""
