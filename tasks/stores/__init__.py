"""Where tasks are stored: the contract, its implementations, and opening one by the settings."""
