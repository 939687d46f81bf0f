"""What a user talks to."""
