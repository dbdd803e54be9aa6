"""One message about several incidents, where a route says `group_by`.

Input: the messages about each incident, which the outbox holds as ever.
Output: they wait for their group (`waiting.py`), and what is due of it becomes one message (`joining.py`), which says
what happened to each incident (`incident_group.py`).

Start with `waiting.py`.
"""
