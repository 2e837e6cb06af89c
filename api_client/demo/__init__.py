"""The demonstration behind ``zdk demo``: real data, real processes, one of them killed."""
