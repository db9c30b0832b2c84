"""`tickbay top`: what every process and every instrument does, live, in a terminal or in a browser."""
