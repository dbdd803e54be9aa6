"""Models in processes of their own: one a version, behind shared memory. Arrays in, arrays out.

`session.IsolatedSession` has the interface of a session in memory; start reading there. `processes` keeps the
processes of this serving process: it starts them through `fork_server`, ends those that overrun or idle, and says of
which version each death is. `child` is what runs in such a process; `tensors`, `areas` and `messages` are how both
sides talk. Nothing that a child writes is trusted: its messages have a fixed form, its headers are checked against
the memory that we own, and nothing is ever unpickled.
"""
