"""The figures of reliability: each r<NN>_<what>.py breaks the running engine in one way, many times, and says what
came of it.

    figure.py      a figure: what is asked, what was reached
    rig.py         the engine under test: simulated venue → `tickbay up` → PostgreSQL, and the audit of all rows
    rival.py       a second writer for the same sink, which nobody told of the first
    __main__.py    `python -m tests.faults r1 r3 --deep`
    sim_seeds.py   the same promises on a virtual machine, 10,000 histories (../simulation)

A module r<NN>_<what>.py has ASKED (one sentence), SIZE and SIZE_DEEP (how often, or for how long) and
`run(size, seed) -> Outcome`.
"""
