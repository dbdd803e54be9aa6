"""The pages of quality: drift, performance, latency, segments, what is expected, and the rules about them.

Start with `performance.py`.
"""
