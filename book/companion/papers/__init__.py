"""What the papers print, and their names for things."""
