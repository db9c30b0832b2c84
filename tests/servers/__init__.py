"""Real servers for tests: each starts on a free loopback port in a temporary folder, and ends with the tests."""
