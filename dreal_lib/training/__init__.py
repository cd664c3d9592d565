"""Training a row of a table, from its recipe to its record."""
