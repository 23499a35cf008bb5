"""Is this the password? One file per method; `credential` is what the database keeps of one."""

from aaa.passwords.credential import Credential, hash_password, verify_hash
from aaa.passwords.method import Chap, Method, Pap, Unsupported, Verdict, verify

__all__ = [
    "Chap",
    "Credential",
    "Method",
    "Pap",
    "Unsupported",
    "Verdict",
    "hash_password",
    "verify",
    "verify_hash",
]
