-- Epochs of wallets come from the sequence: what a rolled-back transaction was handed is never handed out again, so that a
-- rebuild is one transaction (farebox/rebuild.py). It goes on after the epochs that were counted number by number.
SELECT setval('wallet_epoch', greatest((SELECT coalesce(max(epoch), 0) FROM number) + 1,
                                       (SELECT last_value FROM wallet_epoch)), false);
