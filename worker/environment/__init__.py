"""What `worker.settings` makes of the environment: values from files, passwords, URLs looked at."""
