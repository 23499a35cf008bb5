"""EAP over RADIUS (RFC 3748, RFC 3579): one file per method, each a generator that a test can drive without a socket.

`conversation` numbers requests and takes answers, `negotiation` chooses the method, `table` remembers who is in the middle of
one. `channel`, `fragments` and `tunnel` are what the methods over TLS share.
"""

from aaa.eap.conversation import Conversation, Ended, Say, Turn
from aaa.eap.exchange import Check, Checked, Proven, Refused
from aaa.eap.offer import METHOD_NAMES, Offer
from aaa.eap.table import Conversations, Full

__all__ = [
    "METHOD_NAMES",
    "Check",
    "Checked",
    "Conversation",
    "Conversations",
    "Ended",
    "Full",
    "Offer",
    "Proven",
    "Refused",
    "Say",
    "Turn",
]
