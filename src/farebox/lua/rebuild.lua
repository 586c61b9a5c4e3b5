-- Writes a number's wallet anew, as the ledger says, while the number's row is locked there.
--
-- KEYS[1] wallet, KEYS[2] open holds (see take.lua)
-- ARGV[1] epoch, ARGV[2] available, ARGV[3] held (micro-units), ARGV[4] "1" if no user has anything open, else ""
-- then further fields of the wallet with their values (see take.lua): units of pools, what was spent
-- The holds that are open now are in `held`, but not in KEYS[2]: they end by what the ledger says of them (close.lua). So a
-- rebuild costs the same for a thousand open holds as for a million.

redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'available', ARGV[2], 'held', ARGV[3], 'store', store_identity())
if ARGV[4] == '1' then redis.call('HSET', KEYS[1], 'filled', '1') end
for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
