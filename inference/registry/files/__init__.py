"""Files of the registry: model files by their content, and the data that people upload as references.

Input: uploads. Output: files below DRIFTLINE_HOME, and their contents again.

Start with `artifacts.py`.
"""
