"""Which proxy the environment sets for a server; httpx does not understand IPv6 addresses and networks in NO_PROXY."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_of(url: str) -> str | None:
    """Return the URL of the proxy for a URL; None if the server is contacted directly."""
    parts = urlsplit(url)
    named = getproxies()
    proxy = named.get(parts.scheme) or named.get("all")
    if not proxy or _goes_directly(parts.hostname or "", parts.port, named.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _goes_directly(host: str, port: int | None, told: str) -> bool:
    """Whether NO_PROXY (`told`) covers a host; a name in it also covers all names that end in it."""
    if proxy_bypass(host if port is None else f"{host}:{port}"):
        return True
    return any(name.strip() == "*" or _is_within(host, name.strip()) for name in told.split(","))


def _is_within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network.strip("[]"), strict=False)
    except ValueError:  # one of the two is a host name
        return False
