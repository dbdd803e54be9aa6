"""Loads the app's tables, each defined in the stage or feature that owns it: one app label, one migration history."""

import monitors.alerts.models
import monitors.annotations.models
import monitors.definitions.models
import monitors.digests.models
import monitors.feed.models
import monitors.metrics.store.models
import monitors.rules.models
import monitors.summaries.models
import monitors.summaries.uploads.models
import monitors.workflows.models  # noqa: F401  Django registers what is loaded
from driftline.base.feature import load_tables

load_tables("monitors")
