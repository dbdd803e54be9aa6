"""Versions that another server answers: what a caller tells of them, how they are tried, and how they are kept."""
