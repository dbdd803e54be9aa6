"""Sent in the writing transaction when what windows are compared with, or looked at by, has changed."""

from django.dispatch import Signal

reference_ready = Signal()  # reference
expectations_changed = Signal()  # model
segments_changed = Signal()
"""model; which: a Q over the column `segment` of those with other rows now, if any"""
segments_dropped = Signal()  # model, which
span_changed = Signal()  # monitor, span: one that it or a rule begins to judge by
custom_metrics_changed = Signal()  # model: there is an expression that its rows were not summarised by
custom_metric_dropped = Signal()  # custom, metric: what its points were of
custom_points_outdated = Signal()  # custom, metric: what the points of the former expression were of
