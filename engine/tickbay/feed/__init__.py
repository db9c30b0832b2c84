"""FEED: one connection to the venue, its frames decoded into rings (`feed.py` is the process)."""
