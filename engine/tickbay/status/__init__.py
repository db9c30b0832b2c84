"""What every process does, for a person or a program: `tickbay status`."""
