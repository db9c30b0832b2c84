"""What the engine does as Prometheus reads it, and whether it is well, over HTTP: the process `metrics`."""
