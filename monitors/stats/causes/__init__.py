"""Which of the columns that moved matter to the model."""
