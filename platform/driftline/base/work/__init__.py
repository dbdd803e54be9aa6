"""Work that is done however often its worker is killed: rows in PostgreSQL, leases on them, and the task queue.

A row of `work_rows.py` is due until its work is done; `leased_work.py` leases and finishes rows, `attempts.py` counts
how often one failed, and `task_queue.py` names every Celery task and sends it: a message only wakes a worker.

Start with `work_rows.py`, then `task_queue.py`.
"""
