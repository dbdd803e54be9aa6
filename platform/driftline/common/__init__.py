"""What every stage may use: time and periods, errors, work rows, the task queue, hooks, strict JSON.

It imports no stage. Each module is named for what it does. These carry the design: `work.py` and `leased_work.py`
hold work in PostgreSQL until it is done, `task_queue.py` names every Celery task and sends it, `hooks.py` lets a
later stage provide a function to an earlier one, and `errors.py` has the error that becomes the answer to a caller.

Start with `task_queue.py` and `work.py`.
"""
