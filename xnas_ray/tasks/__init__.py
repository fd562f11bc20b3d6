"""What networks are trained on: tasks, data sets and splits."""
