"""The words that people read for states, on pages and in files."""

WORDS = {
    "ok": "OK",
    "warning": "Warning",
    "critical": "Critical",
    "notice": "Notice",
    "no_data": "No data",
    "not_monitored": "Not monitored",
    "learning": "Learning",
    "insufficient": "Too few rows",
    "not_informative": "Not informative",
    "unripe": "Labels pending",
    "not_significant": "Beyond its limit, not significant",
    "unreliable": "Unreliable",
    "error": "Error",
    "open": "Open",
    "acknowledged": "Acknowledged",
    "resolved": "Resolved",
    "snoozed": "Snoozed",
}


def state_word(name: str) -> str:
    """Write a state as its word alone."""
    return WORDS.get(name, words(name))


def words(name: str) -> str:
    """Turn a snake-case name into words."""
    return name.replace("_", " ").capitalize()
