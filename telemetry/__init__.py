"""Logs and the availability of servers."""
