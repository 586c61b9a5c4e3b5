"""Decides: money, messages, webhooks, tariffs, fares and the life of a hold. No I/O, no clock, no await, no float."""
