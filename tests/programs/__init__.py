"""Programs that tests start: the service and workers with a fault inside."""
