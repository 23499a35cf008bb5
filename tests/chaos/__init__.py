"""Real processes, real faults: nodes, PostgreSQL and NASes as processes of their own, killed, stopped, filled and cut off.

The NASes' own journals, synced to disk before a datagram leaves, are the oracle: what was answered must be in the books,
what was never sent must not. `python -m tests.chaos` runs it; `tests/chaos/test_chaos.py` runs its bounded form.
"""
