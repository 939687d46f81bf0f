"""The alerting rules: systems as Prometheus sees them, and which alerts fire."""
