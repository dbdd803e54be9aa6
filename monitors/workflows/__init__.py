"""Retrain-and-redeploy runs, which repair a model.

Input: transitions of rules that retrain, by the task `START_WORKFLOW`; schedules and new labels, by `START_DUE_RUNS`
(`triggers`); and people who start, approve or cancel. A run
is a row with steps; the engine moves it from step to step under a lease, and a killed worker costs time only.
Output: versions, promotions and audit entries, with the evidence of every step.

The model's autonomy says what may happen without a person.

Start with `services.py`, then `engine.py`; `steps` has a module for each step, `trainers` what learns.
"""
