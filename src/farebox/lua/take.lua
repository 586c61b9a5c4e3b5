-- Decides about several sends of one number and takes their fares, in one step: no race lies between looking and taking.
-- Asked dry it decides all the same and takes nothing: that is what a quote is.
--
-- KEYS[1]  the number's wallet: hash of epoch, available, held (micro-units) and pool:<name>:<month> (units used)
-- KEYS[2]  the number's open holds: hash of hold id -> "<fare>:<term>:<pool>"
-- KEYS[3+] the state of each send's recipient: hash of
--          <window>        -> end in ms
--          conv:<category> -> "<end in ms, 0 while pending>:<1 if paid>:<hold id of the message that opened it>"
-- ARGV[1]  now in ms; ARGV[2] block level in micro-units; ARGV[3] "cover" if the whole fare must be there
-- ARGV[4]  "enforce"; "shadow" if nothing is ever refused; "dry" if nothing is to be changed
-- ARGV[5]  the longest that a recipient's hash may be kept, in ms: a store's expiry only cleans up
-- then for each send: its hold id, and its offer as a JSON list of terms (farebox/core/tariff.py writes them)
--
-- Returns {epoch, result, ...}, or {""} where the wallet is missing and must be rebuilt.
-- A result is {outcome, term, available, evidence, paid, rides}: "taken", "refused" (nothing was changed), or "overdrawn"
-- (taken in shadow where it would have been refused). `rides` is the hold id that opened the conversation it rides.
-- Asked dry, a result has one more element: for each term {1 if it holds, its evidence, 1 if it then counts as paid}.
-- A hold id that was taken already is answered as the first time, so the call may be repeated.
--
-- Amounts come and go as strings; sums are exact, since every amount is below 2^53.

local wallet, holds = KEYS[1], KEYS[2]
local now, block_at, cover, mode = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == 'cover', ARGV[4]
local keep_ms = ARGV[5]

local state = redis.call('HMGET', wallet, 'epoch', 'available')
if not state[1] then return {''} end
local available = tonumber(state[2])

local function window_end(recipient, name)
    local ends = tonumber(redis.call('HGET', recipient, name) or '0')
    return now < ends and ends or nil
end

-- Each condition returns its evidence where it holds, and nil where it does not. A ridden conversation also returns the
-- hold that opened it and whether it is a paid one; of several the free one is ridden.
local conditions = {
    always = function() return '' end,
    window = function(term, recipient)
        local ends = window_end(recipient, term.window)
        if ends then return string.format('%s until %.0f', term.window, ends) end
    end,
    pool = function(term)
        local used = tonumber(redis.call('HGET', wallet, 'pool:' .. term.pool) or '0')
        if used < term.size then return string.format('unit %.0f of %.0f in %s', used + 1, term.size, term.pool) end
    end,
    conversation = function(term, recipient)
        local evidence, opener, paid
        for _, category in ipairs(term.of) do
            local ends, is_paid, hold = string.match(redis.call('HGET', recipient, 'conv:' .. category) or '', '^(%d+):(%d):(.*)$')
            if ends and (ends == '0' or now < tonumber(ends)) and (not evidence or (paid and is_paid == '0')) then
                evidence = category .. ' conversation ' .. (ends == '0' and 'pending' or 'until ' .. ends)
                opener, paid = hold, is_paid == '1'
            end
        end
        return evidence, opener, paid
    end,
}

local function holds_true(term, recipient)
    local evidence, opener, paid = conditions[term.when](term, recipient)
    if evidence and term.within then
        local ends = window_end(recipient, term.within)
        if not ends then return nil end
        evidence = string.format('%s until %.0f %s', term.within, ends, evidence)
    end
    return evidence, opener, paid or term.paid or false
end

local function enough(fare)
    if cover then return available - block_at >= fare and available > block_at end
    return available > block_at
end

local function take(hold, term, index, recipient, paid)
    local fare, pool = tonumber(term.fare), term.pool or ''
    if term.pool then redis.call('HINCRBY', wallet, 'pool:' .. pool, 1) end
    if term.opens_window then
        redis.call('HSET', recipient, term.opens_window, string.format('%.0f', now + term.for_ms))
    end
    if term.opens then
        redis.call('HSET', recipient, 'conv:' .. term.opens, string.format('0:%d:%s', paid and 1 or 0, hold))
    end
    if term.opens_window or term.opens then redis.call('PEXPIRE', recipient, keep_ms) end
    if fare > 0 then
        redis.call('HINCRBY', wallet, 'available', '-' .. term.fare)
        redis.call('HINCRBY', wallet, 'held', term.fare)
        available = available - fare
    end
    -- What costs nothing and takes no unit has nothing to give back; one that opens a conversation must be found again.
    if fare > 0 or pool ~= '' or term.opens then
        redis.call('HSET', holds, hold, term.fare .. ':' .. index .. ':' .. pool)
    end
end

local function every_term(terms, recipient)
    local seen = {}
    for index, term in ipairs(terms) do
        local evidence, _, paid = holds_true(term, recipient)
        seen[index] = {evidence and 1 or 0, evidence or '', paid and 1 or 0}
    end
    return seen
end

local function decide(hold, offer, recipient)
    local terms = cjson.decode(offer)
    local before = redis.call('HGET', holds, hold)
    if before then
        local index = tonumber(string.match(before, '^%d+:(%d+):'))
        return {'taken', index, string.format('%.0f', available), '', terms[index].paid and 1 or 0, ''}
    end
    for index, term in ipairs(terms) do
        local evidence, opener, paid = holds_true(term, recipient)
        if evidence then
            local refused = paid and not enough(tonumber(term.fare))
            local outcome = refused and (mode == 'shadow' and 'overdrawn' or 'refused') or 'taken'
            if outcome ~= 'refused' and mode ~= 'dry' then take(hold, term, index, recipient, paid) end
            return {
                outcome, index, string.format('%.0f', available), evidence, paid and 1 or 0, opener or '',
                mode == 'dry' and every_term(terms, recipient) or nil,
            }
        end
    end
    return redis.error_reply('an offer must end with a term that always holds')
end

local results = {state[1]}
for send = 1, #KEYS - 2 do
    results[send + 1] = decide(ARGV[4 + 2 * send], ARGV[5 + 2 * send], KEYS[send + 2])
end
return results
