-- Writes wallets of numbers anew, as the ledger says, while the numbers' rows are locked there.
--
-- KEYS a number's wallet and its open holds (see take.lua), number after number
-- ARGV for each number its wallet's fields as a JSON list of names and values: epoch, available, held (micro-units),
--      filled, units of pools, what was spent (see take.lua)
-- The holds that are open now are in `held`, but not in the list of open holds: they end by what the ledger says of them
-- (close.lua). So a rebuild costs the same for a thousand open holds as for a million.

local identity = store_identity()
for place, text in ipairs(ARGV) do
    local wallet, holds, fields = KEYS[2 * place - 1], KEYS[2 * place], cjson.decode(text)
    redis.call('DEL', wallet, holds)
    redis.call('HSET', wallet, 'store', identity)
    write_all(wallet, fields)
end
return 1
