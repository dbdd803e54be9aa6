"""The demonstrations that `up --demo` can play."""

DEMOS = ("all", "visits", "claims", "flights")
