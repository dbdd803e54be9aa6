"""What is served: models, versions, data sets, and which version answers.

Input: uploads, which `intake` examines in a sandbox before anything is stored, endpoints of other servers,
references, and changes of a deployment.
Output: rows, files under `DRIFTLINE_HOME`, the plan file for serving processes (`plan/publishing.py`), and signals for
later stages (`signals.py`).

Start with `models.py`, then `services.py`: `promote` and `rollback` show how a change reaches the serving processes.
"""
