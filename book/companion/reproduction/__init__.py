"""`dreal reproduce`: what to run, in what order, and the archive of it."""
