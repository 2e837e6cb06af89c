"""What people use today, each behind a few methods, with the settings it comes with."""
