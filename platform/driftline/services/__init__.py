"""The embedded services (PostgreSQL, Valkey) and the supervisor that runs a whole installation from one command."""
