"""What starts runs without a person: a schedule, new labels, a new reference of the champion.

Start with `due_runs.py`. `schedules.py` says when a schedule is due, `new_references.py` which reference is a new one.
Each starts one run, however many schedulers look. A rule starts its own when it fires.
"""
