"""What trainings will cost and did cost."""
