"""How mails are built and sent."""
