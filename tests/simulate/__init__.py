"""Whole lives under faults: the gateway's own code and scripts under one seeded scheduler and a clock that is not real.

What runs is the product: `outbound.send`, `funds`, `settlement`, `conversations`, `rebuild`, `unread`, `intake`,
`bookkeeping`, `unmatched`, `sweep`, `Ledger`, `Wallet` and every script of `farebox/lua/`. What is simulated lies
around it: time and chance (`kernel`), networks (`network`), a Valkey that runs the scripts and may lose its last
second (`valkey`), a PostgreSQL with row locks and transactions (`postgres`, `queries`), WhatsApp (`whatsapp`), and
processes that are paused and killed (`worker`, `life`). What must be true is in `checks`, and in the product's own
invariants, which `books` fills in. A seed decides everything, so it replays exactly:

    make simulate SEEDS=1000000   as many lives, on all cores; FIRST=n starts at another seed
    make simulate SEED=1234       one life, every event of it
    make simulate-planted         which planted bugs the lives find, and where

A model can agree with itself. So `tests/test_simulate.py` puts every statement of some lives to a real PostgreSQL too,
and compares every row of every answer.
"""
