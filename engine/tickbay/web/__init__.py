"""The status page and the read-only JSON API on web.port, served by the process `metrics`."""
