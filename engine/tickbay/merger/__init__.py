"""MERGER: two feeds with the same channels (legs) into one set of streams (merger.py is the process)."""
