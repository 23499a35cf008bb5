"""The targets' names, without what they need: a fuzzer must be there before the code that it watches."""

from __future__ import annotations

from typing import Final

NAMES: Final = ("pre_parser", "unsigned", "signed_mutations", "eap", "tokens", "spool", "radsec_framing", "radius_1_1")
