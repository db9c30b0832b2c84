"""The whole engine in one thread, on a clock, a disk and a network of its own: what becomes of it is decided by a seed
alone, so every failure can be played again.

    world.py       virtual time; processes as coroutines that can be killed or stopped at any call of the system
    disk.py        a disk that loses what was not synced, tears, fails, fills up; behind tickbay.files.Files
    postgres.py    a transactional database, as psycopg shows it
    questdb.py     a database that acknowledges first and applies later, as its HTTP client shows it
    machine.py     the processes, as the supervisor sees them: pid files, locks, signals, heartbeats
    roles.py       what each process runs: the real journal, writer, sinks, supervisor; a feed that only counts
    faults.py      what may happen, and when
    ledger.py      what was published and durable, and what must be true of everything else
    history.py     one seed: its configuration, its faults, its verdict
    seeds.py       seeds that found something, by name
    mutants.py     bugs that are planted to see that they are found

Only time, disk, network, processes and the feed's socket are imitations. All that decides is the code that is shipped:
Journal, recovery, retention, segments, readers, CursorFile, Writer, both sinks, Supervisor, restart budget, the rings.
"""
