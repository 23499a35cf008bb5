"""The whole server on a fake clock, in one thread: seeded NASes, a bad network, a database that fails, nodes that die.

    python -m tests.simulation --seeds 200 --from 0

One seed is one exactly repeatable run. `auditor` knows nothing of the server's code and says what is wrong.
"""
