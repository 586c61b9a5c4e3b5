"""Thousands of threshold crossings under concurrent sends, with a payment provider that declines, delays and repeats.

Several gateways share the stores and the numbers. In each round the sends of a number cross its threshold at once from
all of them; then its payment's events come late, doubled, in any order, or not at all. What a rule promises is counted
from the ledger and from the provider's own books, never from what the code under test says of itself.
"""
