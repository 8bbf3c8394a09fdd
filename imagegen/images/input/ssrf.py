"""Which hosts and addresses the server may fetch from: public unicast ones, whatever they are disguised as.

Addresses are checked as numbers, as the operating system resolved and connected them (`transport.py`).
How a URL spells its host (octal, a DNS name, a redirect, a name that changes its address) makes no difference.
"""

from __future__ import annotations

import ipaddress

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# `is_global` follows IANA's registries and differs between Python releases, so what matters is spelled out here.
_REFUSED_IPV4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "168.63.129.16/32",  # public range, but inside Azure it is the host's own service (Azure documentation)
        "192.0.0.0/24",  # IETF protocol assignments (IANA); Oracle's cloud serves instance metadata there
        "192.88.99.0/24",  # 6to4 relays, deprecated (RFC 7526)
    )
)
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")  # the only range IANA hands out as global unicast
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_REFUSED_IPV6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments (IANA), with Teredo, which carries IPv4 addresses (RFC 4380)
        "2001:db8::/32",  # documentation (RFC 3849)
        "2002::/16",  # 6to4, deprecated, carries an IPv4 address (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
    )
)
_ISATAP_INTERFACES = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214: then an IPv4 address ends the IPv6 address


class NotAllowed(Exception):
    """A host or address is not to be fetched from. Names it, so it is for the log and not for a client."""


def is_allowed_host(host: str, allowed_domains: tuple[str, ...]) -> bool:
    """Whether a host may be fetched from. Never one with a zone, as fe80::1%eth0: it names an interface of this server.

    Args:
        host: the host that is about to be connected to, as the connection has it.
        allowed_domains: `example.com` allows that host, `.example.com` every host below it; empty allows all.
    """
    if "%" in host:
        return False
    name = host.lower().rstrip(".")
    return not allowed_domains or any(
        name.endswith(domain) if domain.startswith(".") else name == domain for domain in allowed_domains
    )


def is_public(address: str) -> bool:
    """Whether a numeric IPv4 or IPv6 address is global unicast; False also for what is no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return _is_public_ipv4(parsed) if isinstance(parsed, ipaddress.IPv4Address) else _is_public_ipv6(parsed)


def _is_public_ipv4(address: ipaddress.IPv4Address) -> bool:
    return _is_plain(address) and not any(address in network for network in _REFUSED_IPV4)


def _is_public_ipv6(address: ipaddress.IPv6Address) -> bool:
    last_32_bits = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.ipv4_mapped is not None or address in _NAT64:
        return _is_public_ipv4(last_32_bits)
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP_INTERFACES and not _is_public_ipv4(last_32_bits):
        return False
    inside = address in _GLOBAL_IPV6 and not any(address in network for network in _REFUSED_IPV6)
    return inside and _is_plain(address)


def _is_plain(address: _Address) -> bool:
    special = address.is_private or address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not special
