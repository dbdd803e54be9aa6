"""Whether a challenger is better than the champion, from what both answered."""
