"""The only door to the outside: safe, exact, bounded and resumable downloads."""
