"""What a test does to the servers, and undoes."""
