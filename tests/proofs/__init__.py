"""What takes longer than a suite may: `make prove`."""
