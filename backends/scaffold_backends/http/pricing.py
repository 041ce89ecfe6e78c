"""Looks up a model's prices in the genai-prices table."""

from __future__ import annotations

import ipaddress
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scaffold.vocabulary.models import FREE, Prices

if TYPE_CHECKING:
    from genai_prices.types import TieredPrices


def is_private(url: str) -> bool:
    """Whether a URL's host is this machine or in a private network, by its name alone."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost", ".lan"))
    return address.is_private or address.is_loopback or address.is_link_local


def look_up(model: str, url: str) -> tuple[Prices | None, int | None, bool]:
    """Find a model's list price and context.

    If a price has tiers, the highest counts, so that a budget holds in any case.

    Returns:
        US dollars per million tokens, or None; most tokens of the prompt, or None; whether the price is a guess, as for
        a private server, whose tokens are assumed to be free.
    """
    if is_private(url):
        return FREE, None, True
    # A megabyte of tables, which takes a second to load, so only for APIs with prices.
    from genai_prices import Usage, calc_price

    try:
        known = calc_price(Usage(), model, provider_api_url=url)
    except LookupError:
        return None, None, False
    listed = known.model_price
    tokens = _dearest(listed.input_mtok), _dearest(listed.output_mtok)
    if tokens[0] is None or tokens[1] is None:
        return None, known.model.context_window, False
    cache = _dearest(listed.cache_read_mtok), _dearest(listed.cache_write_mtok)
    return Prices(tokens[0], tokens[1], *cache), known.model.context_window, False


def _dearest(price: Decimal | TieredPrices | None) -> float | None:
    if price is None:
        return None
    if isinstance(price, Decimal):
        return float(price)
    return float(max([price.base, *(tier.price for tier in price.tiers)]))
