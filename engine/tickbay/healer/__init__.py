"""HEALER: asks the venue for the trades that were not captured (`healer.py` is the process)."""
