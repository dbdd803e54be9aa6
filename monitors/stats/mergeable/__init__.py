"""What is remembered of values, predictions and outcomes: summaries whose parts add up to the whole."""
