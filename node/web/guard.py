"""Which requests are answered at all, and what every answer tells the browser to refuse.

The page needs no login because only this machine reaches it. A web page from elsewhere, open in
the same browser, must therefore not reach it either: its name could be made to resolve to this
address (DNS rebinding). Such a request carries a name in its Host field; ours carry an address.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import Final

SECURITY_HEADERS: Final = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._-]{1,253})(?::[0-9]{1,5})?")
_LOOPBACK_NAME: Final = "localhost"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    Raises:
        ValueError: Not an IP address.
    """
    return ipaddress.ip_address(host).is_loopback


def is_allowed_host(hosts: Collection[str], names: Collection[str]) -> bool:
    """Whether a request's Host fields show that it was meant for this server.

    Args:
        hosts: All Host fields of the request.
        names: Host names, in lower case, that people were told to use besides addresses.
    """
    if len(hosts) != 1:
        return False
    match = _HOST.fullmatch(next(iter(hosts)))
    if match is None:
        return False
    host = match.group(1).lower()
    if host == _LOOPBACK_NAME or host in names:
        return True
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
