"""The demonstration: three models on real data, with faults that are written down before they are planted.

Input: the tables in `data`, made of public ones by `python -m tests.performance.demo_data`.
Output: models, references, rules, channels, predictions and labels, all of them sent to the API as any user would
send them; a plan of what was planted, which the page *Demo* holds against the stored incidents; and a webhook receiver
that keeps what it gets.

Start with `story.py`, then `visits.py`, `claims.py` and `flights.py`, which are such stories; `daily_rows.py` has their
rows. `manage.py demo` plays them.
"""
