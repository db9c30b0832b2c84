"""UNIVERSE: which instruments are recorded, and by which feed (`universe.py` is the process)."""
