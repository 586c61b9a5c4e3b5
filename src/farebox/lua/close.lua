-- Ends holds of one number after the ledger has ended them: the wallet is given to last.
--
-- KEYS[1] wallet, KEYS[2] open holds (see take.lua); ARGV[1] the number's epoch when the ledger ended them; then for each hold
--   its id, the billed fare in micro-units,
--   what becomes of its free unit: "" nothing, "back" to its pool, or the name of the pool that the delivery used one of
--   (the month of delivery counts, not of sending),
--   "1" if it was taken in an older epoch and open until now, else "", and what it had set aside then: micro-units and pool,
--   its category, the number's day that its charge counts for ("" where nothing is charged), and its key (see _shared.lua)
--
-- Returns available in micro-units, or "" where the wallet is missing or of another epoch: then it was (or will be) rebuilt
-- from a ledger in which these holds have ended. A hold of this epoch that the wallet does not know cost nothing and took no
-- unit; one of an older epoch is in the wallet's sums, though not by name.
--
-- Not repeatable: a call whose answer is lost is not made again, the wallet then shows too little until it is rebuilt.

local wallet, holds = KEYS[1], KEYS[2]
if redis.call('HGET', wallet, 'epoch') ~= ARGV[1] then return '' end

for i = 2, #ARGV, 9 do
    local hold, billed, unit = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local category, day, key = ARGV[i + 6], ARGV[i + 7], ARGV[i + 8]
    local fare, pool
    local taken = redis.call('HGET', holds, hold)
    if taken then
        fare, pool = string.match(taken, '^(%d+):%d+:(.*)$')
        redis.call('HDEL', holds, hold)
    elseif ARGV[i + 3] == '1' then
        fare, pool = ARGV[i + 4], ARGV[i + 5]
    end
    if fare then
        redis.call('HINCRBY', wallet, 'held', string.format('%.0f', 0 - tonumber(fare)))
        redis.call('HINCRBY', wallet, 'available', string.format('%.0f', tonumber(fare) - tonumber(billed)))
        count_held(wallet, category, key, 0 - tonumber(fare))
        if unit ~= '' and unit ~= pool then
            if pool ~= '' then redis.call('HINCRBY', wallet, 'pool:' .. pool, -1) end
            if unit ~= 'back' then redis.call('HINCRBY', wallet, 'pool:' .. unit, 1) end
        end
    elseif unit ~= '' and unit ~= 'back' then
        redis.call('HINCRBY', wallet, 'pool:' .. unit, 1)
    end
    if day ~= '' then count_charge(wallet, category, key, day, billed) end
end
return redis.call('HGET', wallet, 'available')
