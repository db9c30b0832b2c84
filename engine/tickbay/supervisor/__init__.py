"""SUPERVISOR: starts, watches, replaces and adopts the other processes (`supervisor.py` is the process)."""
