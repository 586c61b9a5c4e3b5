-- Ends holds of one number after the ledger has ended them: the wallet is given to last.
--
-- KEYS[1] wallet, KEYS[2] open holds (see take.lua)
-- ARGV[1] the number's epoch when the ledger ended them; then for each hold: its id, the billed fare in micro-units, and what becomes of its free unit: "" nothing, "back" to
--         its pool, or the name of the pool that the delivery used one of (the month of delivery counts, not of sending)
--
-- Returns available in micro-units, or "" where the wallet is missing. A hold that the wallet does not know was closed
-- before, or its wallet was rebuilt after the ledger had ended it, or it cost nothing and took no unit: nothing is left to do,
-- but to count the unit that its delivery used after all, unless the wallet was rebuilt since and knows it.

local wallet, holds = KEYS[1], KEYS[2]
local epoch = redis.call('HGET', wallet, 'epoch')
if not epoch then return '' end

for i = 2, #ARGV, 3 do
    local hold, billed, unit = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local taken = redis.call('HGET', holds, hold)
    if taken then
        local fare, pool = string.match(taken, '^(%d+):%d+:(.*)$')
        redis.call('HDEL', holds, hold)
        redis.call('HINCRBY', wallet, 'held', string.format('%.0f', 0 - tonumber(fare)))
        redis.call('HINCRBY', wallet, 'available', string.format('%.0f', tonumber(fare) - tonumber(billed)))
        if unit ~= '' and unit ~= pool then
            if pool ~= '' then redis.call('HINCRBY', wallet, 'pool:' .. pool, -1) end
            if unit ~= 'back' then redis.call('HINCRBY', wallet, 'pool:' .. unit, 1) end
        end
    elseif unit ~= '' and unit ~= 'back' and epoch == ARGV[1] then
        redis.call('HINCRBY', wallet, 'pool:' .. unit, 1)
    end
end
return redis.call('HGET', wallet, 'available')
