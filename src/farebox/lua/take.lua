-- Decides about several sends of one number and takes their fares, in one step: no race lies between looking and taking.
--
-- KEYS[1]  the number's wallet: hash of epoch, available, held (micro-units) and pool:<name>:<month> (units used)
-- KEYS[2]  the number's open holds: hash of hold id -> "<fare>:<term>:<pool>"
-- KEYS[3+] the windows of each send's recipient: hash of window -> end in ms
-- ARGV[1]  now in ms; ARGV[2] block level in micro-units; ARGV[3] "cover" if the whole fare must be there
-- ARGV[4]  the longest that a window's hash may be kept, in ms: a store's expiry only cleans up
-- then for each send: its hold id, and its offer as a JSON list of terms {condition, fare, paid, ...}
--
-- Returns {epoch, result, ...}, or {""} where the wallet is missing and must be rebuilt.
-- A result is {"taken", term, available, evidence} or {"refused", term, available, evidence}. A refusal changes nothing.
-- A hold id that was taken already is answered as the first time, so the call may be repeated.
--
-- Amounts come and go as strings; sums are exact, since every amount is below 2^53.

local wallet, holds = KEYS[1], KEYS[2]
local now, block_at, cover, keep_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == 'cover', tonumber(ARGV[4])

local state = redis.call('HMGET', wallet, 'epoch', 'available')
if not state[1] then return {''} end
local available = tonumber(state[2])

-- Each condition returns its evidence where it holds, and nil where it does not.
local conditions = {
    always = function() return '' end,
    window = function(term, windows)
        local ends = tonumber(redis.call('HGET', windows, term[4]) or '0')
        if now < ends then return string.format('%s until %.0f', term[4], ends) end
    end,
    opening = function(term, windows)
        local ends = tonumber(redis.call('HGET', windows, term[4]) or '0')
        if now < ends then return string.format('%s until %.0f', term[4], ends) end
    end,
    pool = function(term)
        local used = tonumber(redis.call('HGET', wallet, 'pool:' .. term[4]) or '0')
        if used < term[5] then return string.format('unit %.0f of %.0f in %s', used + 1, term[5], term[4]) end
    end,
}

local function enough(fare)
    if cover then return available - block_at >= fare and available > block_at end
    return available > block_at
end

local function take(hold, term, index, windows)
    local fare, pool = tonumber(term[2]), ''
    if term[1] == 'pool' then
        pool = term[4]
        redis.call('HINCRBY', wallet, 'pool:' .. pool, 1)
    elseif term[1] == 'opening' then
        redis.call('HSET', windows, term[5], string.format('%.0f', now + term[6]))
        redis.call('PEXPIRE', windows, string.format('%.0f', keep_ms))
    end
    if fare > 0 then
        redis.call('HINCRBY', wallet, 'available', '-' .. term[2])
        redis.call('HINCRBY', wallet, 'held', term[2])
        available = available - fare
    end
    if fare > 0 or pool ~= '' then
        redis.call('HSET', holds, hold, term[2] .. ':' .. index .. ':' .. pool)
    end
end

local function decide(hold, offer, windows)
    local before = redis.call('HGET', holds, hold)
    if before then
        return {'taken', tonumber(string.match(before, '^%d+:(%d+):')), string.format('%.0f', available), ''}
    end
    for index, term in ipairs(cjson.decode(offer)) do
        local evidence = conditions[term[1]](term, windows)
        if evidence then
            if term[3] == 1 and not enough(tonumber(term[2])) then
                return {'refused', index, string.format('%.0f', available), evidence}
            end
            take(hold, term, index, windows)
            return {'taken', index, string.format('%.0f', available), evidence}
        end
    end
    return redis.error_reply('an offer must end with a term that always holds')
end

local results = {state[1]}
for send = 1, #KEYS - 2 do
    results[send + 1] = decide(ARGV[3 + 2 * send], ARGV[4 + 2 * send], KEYS[send + 2])
end
return results
