"""Watches what `inference` logged, tells people what is wrong, and repairs models.

The life of a window: a commit of the log sends `periods_touched`, the task `SUMMARISE` adds its rows to the summaries
of their hours (`summaries`) and marks windows as stale, `MEASURE` turns each stale window into metric points
(`metrics`, with the kernels of `stats`), and `JUDGE` takes the rules through the new windows (`rules`), which writes
transitions. `alerts` turns a transition into an incident with its deliveries.

The life of a run: `workflows` turns the same transition into a run. Its steps train a challenger, compare it on
live traffic and promote it through `inference.registry`.

`feed` holds what happened, as events in one order; `definitions` says what is watched, `optimiser` makes a version
cheaper, `reports` builds Evidently's reports. A stage imports only stages before it;
`driftline.base.work.task_queue.Task` names the tasks between them.

Start with `receivers.py`, which connects signals and hooks, then the module `services` of a stage.
"""

from driftline.base import telemetry as telemetry
