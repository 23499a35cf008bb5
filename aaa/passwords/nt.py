"""The NT hash: MD4 over the password in UTF-16 (RFC 2433 appendix A.3, RFC 2759 section 8.3). It is as good as the password to
whoever has it, so it is kept encrypted."""

from __future__ import annotations

from Crypto.Hash import MD4


def nt_hash(password: bytes) -> bytes | None:
    """16 octets; None where the password is no UTF-8 text, so that no client can have typed it as Unicode."""
    try:
        unicode = password.decode("utf-8").encode("utf-16-le")
    except UnicodeError:
        return None
    return MD4.new(unicode).digest()


def hash_of_hash(nt: bytes) -> bytes:
    """MD4 once more (RFC 2759 section 8.4): proves the server to the client, and begins the keys."""
    return MD4.new(nt).digest()
