"""When the mean of a stream of numbers changed, from a state of a few bytes."""
