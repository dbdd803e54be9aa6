"""The pages of rules: all of a model, one with its form, and what it would have done in the stored past.

Input: what people choose. Output: rules, kept by their services.

Start with `rules.py`.
"""
