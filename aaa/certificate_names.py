"""What a certificate may be called when an operator ties it to a NAS, and the one spelling of each.

    sha256:1f…            its fingerprint: this very certificate, and none that follows it
    dns:bras-1.isp.net    a host name of its subjectAltName; likewise ip:192.0.2.1 and uri:urn:nas:7
    subject:CN=bras-1     its whole subject, as RFC 4514 writes it

A common name alone is none of these: subscribers' certificates have common names too, which they may have chosen.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
EXAMPLE: Final = (
    "write for example dns:bras-1.example.net, sha256:FINGERPRINT, subject:CN=bras-1, or name its .pem file"
)


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """Everything that this certificate may be called."""
    names = {fingerprint_name(certificate), f"subject:{certificate.subject.rfc4514_string()}"}
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset(names)
    for other in others:
        if isinstance(other, x509.DNSName):
            names.add(f"dns:{other.value.lower()}")
        elif isinstance(other, x509.IPAddress):
            names.add(f"ip:{other.value}")
        elif isinstance(other, x509.UniformResourceIdentifier):
            names.add(f"uri:{other.value}")
    return frozenset(names)


def fingerprint_name(certificate: x509.Certificate) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"


def canonical_name(text: str) -> str:
    """A name in its one spelling. ValueError, saying what would be right, where it is none."""
    kind, colon, value = text.partition(":")
    kind = kind.lower()
    if not colon or not value:
        raise ValueError(f"{text!r} does not name a certificate; {EXAMPLE}")
    if kind == "sha256":
        digits = value.replace(":", "").lower()
        if not _FINGERPRINT.fullmatch(digits):
            raise ValueError(f"{value!r} is no SHA-256 fingerprint: it has 64 hexadecimal digits")
        return f"sha256:{digits}"
    if kind == "dns":
        host = value.lower()
        if len(host) > 253 or not _HOST.fullmatch(host):
            raise ValueError(f"{value!r} is no host name; write it in full, without '*'")
        return f"dns:{host}"
    if kind == "ip":
        try:
            return f"ip:{ip_address(value)}"
        except ValueError:
            raise ValueError(f"{value!r} is no address; write for example ip:192.0.2.1") from None
    if kind == "uri":
        return f"uri:{value}"
    if kind == "subject":
        try:
            return f"subject:{x509.Name.from_rfc4514_string(value).rfc4514_string()}"
        except ValueError:
            raise ValueError(f"{value!r} is no subject; write for example subject:CN=bras-1,O=Example") from None
    raise ValueError(f"{kind!r} is no kind of certificate name; {EXAMPLE}")
