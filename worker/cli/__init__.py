"""The zdk command's operator verbs."""
