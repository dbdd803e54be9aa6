"""Runs each model version in a process of its own, behind shared memory.

Input: arrays of the serving process.
Output: arrays of the model, or the reason why its process died.

`session.py` has the interface of a session in memory. `processes.py` starts the processes through `fork_server.py`,
and ends those that take too long or that nobody uses. `child.py` is what runs in such a process. `tensors.py`,
`areas.py` and `messages.py` are how both sides talk. Nothing that a child writes is trusted: messages have a fixed
form, headers are checked against the memory that the parent owns, and nothing is unpickled.

Start with `session.py`.
"""
