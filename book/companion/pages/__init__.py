"""What a notebook begins and ends with: parameters, runs, provenance."""
