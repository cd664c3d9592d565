"""What any program needs: seeds, processes, deadlines, files written whole, the machine's facts."""
