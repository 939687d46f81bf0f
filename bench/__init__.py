"""`make bench`: how fast the project is, beside what one would use instead, in one run."""
