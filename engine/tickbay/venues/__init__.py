"""What exchanges say, one module for each: requests to bytes, replies to values. No I/O, no clock, no state."""
