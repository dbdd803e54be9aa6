"""Whether and when the numbers of a stream, or the shares of its days, became others than before."""
