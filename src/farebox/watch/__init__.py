"""Watches balances: raises alerts, renews funds, tells whoever is to be told.

a send sees too little left -> wakes -> look     within a second, on the worker that saw it
every few seconds           -> watch_pass        one elected worker: what was missed, days, payments under way
every few minutes           -> slow_pass        the last hour against the usual one, cards that end
every second                -> tell              one elected worker: webhooks, e-mail, chat
"""

from farebox.watch.looks import carry_on, look
from farebox.watch.passes import follow_wakes, slow_pass, watch_pass
from farebox.watch.telling import tell

__all__ = ["carry_on", "follow_wakes", "look", "slow_pass", "tell", "watch_pass"]
