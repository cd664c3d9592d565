"""Tables of errors, scores and costs."""
