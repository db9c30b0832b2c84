"""How a batch becomes durable: sink.py says what a writer asks of a database, the others are databases."""
