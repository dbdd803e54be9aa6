"""Which rows do worse, or come more often, than they did."""
