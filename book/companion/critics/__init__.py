"""Fig. 6 and what it says of critics."""
