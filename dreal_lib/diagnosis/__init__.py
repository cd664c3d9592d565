"""What a trained network does: errors, maps, rewards, localization, cost."""
