"""The embedded services (PostgreSQL, Valkey) and the supervisor of a whole installation."""
