"""Times by twenty-four hours, as on the pages, with their zone."""

DATETIME_FORMAT = "j M Y H:i T"
SHORT_DATETIME_FORMAT = "j M Y H:i T"
TIME_FORMAT = "H:i"
