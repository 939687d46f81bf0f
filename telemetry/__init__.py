"""Logs, metrics, and the availability of servers."""
