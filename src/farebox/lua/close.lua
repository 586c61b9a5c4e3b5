-- Ends holds of one number after the ledger has ended them: the wallet is given to last.
--
-- KEYS[1] wallet, KEYS[2] open holds (see take.lua); ARGV[1] the number's epoch when the ledger ended them; then for all
-- holds of which the following is the same, once
--   the billed fare of each in micro-units,
--   what becomes of its free unit: "" nothing, "back" to its pool, or the name of the pool that the delivery used one of
--   (the month of delivery counts, not of sending),
--   "1" if it was taken in an older epoch and open until now, else "", and what it had set aside then: micro-units and pool,
--   its category, the number's day that its charge counts for ("" where nothing is charged), and its key (see _shared.lua),
--   and the ids of these holds, with a space between two
--
-- Returns available in micro-units, or "" where the wallet is missing or of another epoch: then it was (or will be) rebuilt
-- from a ledger in which these holds have ended. A hold of this epoch that the wallet does not know cost nothing and took no
-- unit; one of an older epoch is in the wallet's sums, though not by name.
--
-- Not repeatable: a call whose answer is lost is not made again, the wallet then shows too little until it is rebuilt.

local wallet, holds = KEYS[1], KEYS[2]
if redis.call('HGET', wallet, 'epoch') ~= ARGV[1] then return '' end

-- A webhook ends up to a thousand holds, and each would move the same few fields: so they are added up, and moved at the end.
local fields, moves, seen = {}, {}, {}

local function move(field, by)
    if not moves[field] then fields[#fields + 1] = field end
    moves[field] = (moves[field] or 0) + by
end

-- A unit that the hold had of `pool` becomes one of `unit`; nil: the wallet knows of none that it had.
local function move_unit(pool, unit)
    if unit == '' or unit == pool then return end
    if pool and pool ~= '' then move('pool:' .. pool, -1) end
    if unit ~= 'back' then move('pool:' .. unit, 1) end
end

-- Gives back what a hold had set aside: micro-units and pool.
local function give(fare, pool, billed, unit, category, key)
    move('held', 0 - fare)
    move('available', fare - billed)
    if fare ~= 0 then
        move('held:' .. category, 0 - fare)
        if key ~= '' then move('held:' .. key, 0 - fare) end
    end
    move_unit(pool, unit)
end

for i = 2, #ARGV, 9 do
    local billed, unit, older = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2] == '1'
    local category, day, key = ARGV[i + 5], ARGV[i + 6], ARGV[i + 7]
    local ids = {}
    for hold in string.gmatch(ARGV[i + 8], '[^ ]+') do
        if not seen[hold] then ids[#ids + 1], seen[hold] = hold, true end  -- a hold ends once, however often it is named
    end
    for first = 1, #ids, AT_ONCE do
        local last = math.min(first + AT_ONCE - 1, #ids)
        local known, gone = redis.call('HMGET', holds, unpack(ids, first, last)), {}
        for j, taken in ipairs(known) do
            if taken then
                local fare, pool = string.match(taken, '^(%d+):%d+:(.*)$')
                give(tonumber(fare), pool, billed, unit, category, key)
                gone[#gone + 1] = ids[first + j - 1]
            elseif older then
                give(tonumber(ARGV[i + 3]), ARGV[i + 4], billed, unit, category, key)
            else
                move_unit(nil, unit)
            end
        end
        if gone[1] then redis.call('HDEL', holds, unpack(gone)) end
    end
    if day ~= '' then count_charge(wallet, category, key, day, billed * #ids) end
end
for _, field in ipairs(fields) do redis.call('HINCRBY', wallet, field, string.format('%.0f', moves[field])) end
return redis.call('HGET', wallet, 'available')
