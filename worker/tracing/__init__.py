"""A worker's spans, and their way to a collector. OpenTelemetry is imported only if that is on."""
