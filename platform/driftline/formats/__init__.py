"""How Django writes times where no template says it, which is in the admin."""
