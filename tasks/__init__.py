"""What a task is, and where it is stored."""
