"""The machinery of the background work: broker, publisher, leases, sweeper, steps and mails."""
