"""The servers that tests need: each is started privately on a free port, and stopped again."""
