"""The volumes benchmark: quiet worlds and faults at 5 to 50,000 rows a day; start with `__main__.py`."""
