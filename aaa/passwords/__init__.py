"""Is this the password? One file per method; `credential` is what the database keeps of one."""

from aaa.passwords.credential import Credential, Kept, allowed_methods, hash_password, hash_secret, verify_hash
from aaa.passwords.method import Chap, Eap, Method, Pap, Unsupported, Verdict, name_of, verify
from aaa.passwords.mschap import MsChap1, MsChap2, PasswordChange
from aaa.passwords.nt import nt_hash

__all__ = [
    "Chap",
    "Credential",
    "Eap",
    "Kept",
    "Method",
    "MsChap1",
    "MsChap2",
    "Pap",
    "PasswordChange",
    "Unsupported",
    "Verdict",
    "allowed_methods",
    "hash_password",
    "hash_secret",
    "name_of",
    "nt_hash",
    "verify",
    "verify_hash",
]
