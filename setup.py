"""What setup.cfg can not say: with AAA_COMPILE=1 in the environment, the code that every packet goes through is compiled.

It is the same code, translated to C by mypyc, which needs what the package itself needs (so no isolated build), mypy, a C
compiler and a minute or two. Without the variable this is an ordinary installation.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

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


class SideBySide(build_ext):  # type: ignore[misc]  # setuptools ships no types
    """As many files at a time as there are processors: by itself setuptools does that for extensions only, and nearly all of
    the C is in one."""

    def initialize_options(self) -> None:
        """The extensions side by side, too: there is a small one for each module."""
        super().initialize_options()
        self.parallel = True
        self.force = True  # what is left to setuptools has no source files by which it could see that something is new

    def build_extension(self, ext: Extension) -> None:
        """Compile its files, and leave what is left of it to setuptools: linking."""

        def compiled(source: str) -> list[str]:
            objects: list[str] = self.compiler.compile(
                [source], output_dir=self.build_temp, include_dirs=ext.include_dirs, macros=ext.define_macros,
                depends=ext.depends, extra_postargs=ext.extra_compile_args,
            )  # fmt: skip
            return objects

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            ext.extra_objects += [made for each in pool.map(compiled, ext.sources) for made in each]
        ext.sources = []
        super().build_extension(ext)


#: pip asks for the package's name and requirements first, by commands that need no C.
ONLY_ASKED = {"egg_info", "dist_info"} & set(sys.argv)

if os.environ.get("AAA_COMPILE") == "1" and not ONLY_ASKED:
    from mypyc.build import mypycify

    modules = mypycify(COMPILED, opt_level="2", debug_level="0", multi_file=True)
    setup(ext_modules=modules, cmdclass={"build_ext": SideBySide})
else:
    setup()
