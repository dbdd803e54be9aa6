"""Metrics of traffic and service: how many rows came, how late, and how fast requests were answered.

Input: counters of hours and of requests. Output: points with limit and status.

Start with `volume.py`.
"""
