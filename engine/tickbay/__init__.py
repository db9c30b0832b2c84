"""tickbay: record every tick of an options venue, and know every gap."""

__version__ = "0.1.0"
