"""What tickbay costs: one module per stage, each beside its limit and its peer. README.md says how and why."""
