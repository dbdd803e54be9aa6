"""Loads the app's tables, each defined in the stage or feature that owns it: one app label, one migration history."""

import inference.prediction_log.erasure.models
import inference.prediction_log.events.models
import inference.prediction_log.imports.models
import inference.prediction_log.models
import inference.registry.models  # noqa: F401  Django registers what is loaded
from driftline.base.feature import load_tables

load_tables("inference")
