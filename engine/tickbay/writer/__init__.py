"""WRITER: from ring or journal into one sink, in batches (`writer.py` is the process)."""
