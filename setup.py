"""What setup.cfg can not say: with AAA_COMPILE=1 in the environment, the code that every packet goes through is compiled.

It is the same code, translated to C by mypyc, which needs what the package itself needs (so no isolated build), mypy, a C
compiler and a minute or two. Without the variable this is an ordinary installation.
"""

import os
from pathlib import Path

from setuptools import setup

#: What every packet goes through, but for what looks after sockets, connections and queues: that gains nothing.
COMPILED = [
    "charging/addresses.py",
    "charging/admission.py",
    "charging/book.py",
    "charging/bookkeeping.py",
    "charging/buckets.py",
    "charging/bulk.py",
    "charging/conditions.py",
    "charging/enforcement.py",
    "charging/level.py",
    "charging/money.py",
    "charging/period.py",
    "charging/plan.py",
    "charging/rating.py",
    "charging/scope.py",
    "charging/session.py",
    "charging/settle.py",
    "charging/shelf.py",
    "charging/slices.py",
    "charging/tariff.py",
    "charging/usage.py",
    "charging/waiting.py",
    "charging/window.py",
    "aaa/access.py",
    "aaa/accounting.py",
    "aaa/attempts.py",
    *sorted(map(str, Path("aaa/dialects").glob("*.py"))),
    "aaa/handlers.py",
    "aaa/messages.py",
    "aaa/narration.py",
    "aaa/nas.py",
    "aaa/passwords/method.py",
    "aaa/realms.py",
    "aaa/replies.py",
    "aaa/reply_attributes.py",
    "aaa/standing.py",
    "aaa/subscriber.py",
    "aaa/telling.py",
    "aaa/tokens.py",
    "aaa/trail.py",
    "aaa/wire/building.py",
    "aaa/wire/keyed_hash.py",
    "aaa/wire/packet.py",
    "aaa/wire/signing.py",
    "aaa/wire/values.py",
]


if os.environ.get("AAA_COMPILE") == "1":
    from mypyc.build import mypycify

    setup(ext_modules=mypycify(COMPILED, opt_level="2", debug_level="0", multi_file=True))
else:
    setup()
