"""What a worker counts, for Prometheus. Imported only while the HTTP endpoint is on."""
