"""JOURNAL: every record on disk, durable before a sink may have it (`journal.py` is the process)."""
