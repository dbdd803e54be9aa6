"""The pages of incidents, and of who hears of them: channels, routing and silences.

Start with `incidents.py`.
"""
