"""Asks the EU's VIES whether a VAT number is registered. It is often away, and then nothing is said.

https://ec.europa.eu/taxation_customs/vies/#/technical-information: GET /ms/{member}/vat/{number}.
"""

import logging

import aiohttp

log = logging.getLogger(__name__)

TIMEOUT_S = 5  # a person waits for it; members' own services answer within a second or not at all


async def is_registered(session: aiohttp.ClientSession, url: str, tax_id: str) -> bool | None:
    """Tell whether a VAT number with its member's prefix is registered; None where VIES does not say."""
    address = f"{url.rstrip('/')}/ms/{tax_id[:2]}/vat/{tax_id[2:]}"
    try:
        async with session.get(address, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as answer:
            said = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        log.warning("VIES does not answer: %s", type(error).__name__)
        return None
    match said:
        case {"userError": "VALID"}:
            return True
        case {"userError": "INVALID" | "INVALID_INPUT"}:
            return False
    log.warning("VIES does not say whether a Tax ID is valid")
    return None
