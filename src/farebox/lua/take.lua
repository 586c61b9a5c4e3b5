-- Decides about several sends of some numbers and takes their fares, in one step: no race lies between looking and taking.
-- Asked dry it decides all the same and takes nothing: that is what a quote is.
-- A send has one part, or one for each member of a group; it is taken as a whole or not at all.
--
-- KEYS, for each number:
--   its wallet: hash of epoch, store, filled (see _shared.lua), available, held (micro-units),
--     pool:<name>:<month> (units used), and what was spent by category (see _shared.lua)
--   its open holds that were taken in this epoch: hash of hold id -> "<fare>:<term>:<pool>"
--   the state of each part's recipient, part after part (forget.lua deletes it in time): hash of
--     <window>        -> end in ms
--     epoch           -> see _shared.lua
--     conv:<category> -> "<end in ms, 0 while pending>:<1 if paid>:<hold id of the message that opened it>"
-- ARGV: now in ms; then for each number
--   its block level in micro-units; "cover" if the whole fare must be there
--   "enforce"; "shadow" if nothing is ever refused; "dry" if nothing is to be changed
--   its spend limits: a JSON list of {"day" or "month", its name, category, "" for all or the key, micro-units}
--   the key that sends all of this, as _shared.lua counts it; "" where it has no limit
--   how many messages a second the number may send, in all workers of all gateways; "" where nothing limits them
--   how many sends there are, and for each of them the number of its parts, and for each part its hold id, its category and
--   its offer as a JSON list of terms (farebox/core/tariff.py writes them)
--
-- Returns for each number {epoch, send, ...}, or {""} where the wallet is missing (or of another life of the store) and must
-- be rebuilt, or the error that it met with.
-- A send is {outcome, available, reached, wait, part, ...}: "taken", to leave in `wait` ms; "refused", "limited" or "paced"
-- (nothing was changed; paced: its turn would come in `wait` ms, which is too long to wait); or "overdrawn"
-- (taken in shadow where it would have been refused), or "unread" (nothing was changed: a recipient must be read from the
-- ledger first). `reached` is {} or {place of the spend limit that it would exceed, micro-units spent}. A part is
-- {term, evidence, paid, rides}; `rides` is the hold id that opened the conversation that it rides. What was taken already
-- is answered as the first time, so the call may be repeated.
-- Asked dry, a part has one more element: for each of its terms {1 if it holds, its evidence, 1 if it then counts as paid}.
--
-- Amounts come and go as strings; sums are exact, since every amount is below 2^53.

local now, identity = tonumber(ARGV[1]), store_identity()

-- Of the number that it is about: what was asked, and what its wallet says.
local wallet, holds, block_at, cover, mode, limits, key, per_second
local epoch, filled, available, due
-- And what its sends have taken so far, which is written once for all of them (`write_taken`).
local taken, taken_by_category, taken_holds

-- The pace of a number is steady with a small burst (generic cell rate algorithm): `due` in its wallet is when the next turn
-- comes. A turn is given here, in the step that takes the fare, so it holds however many workers and gateways there are, and
-- costs a number without a pace nothing. Of one with a pace it is one more field to read and to write for all sends of a call.
local QUEUE_MS = 1000  -- how long a send may wait: a second of the number's throughput; longer, and clients give up themselves
local BURST_MS = 100   -- a tenth of a second's messages may leave at once
local SET_BACK_MS = 60000  -- no turn is that far away, unless a clock was set back

-- Reads a number's wallet; tells whether it is there. A quote's copy was read by state.lua, which has looked already.
local function read_wallet()
    local state = redis.call('HMGET', wallet, 'epoch', 'available', 'store', 'filled', 'due')
    epoch, filled = state[1], state[4]
    if not epoch or (mode ~= 'dry' and state[3] ~= identity) then return false end
    available, due = tonumber(state[2]), tonumber(state[5] or '0')
    if due > now + SET_BACK_MS then due = 0 end
    taken, taken_by_category, taken_holds = 0, {}, {}
    return true
end

-- Money first: what an error cuts short leaves the wallet with too little, never with too much.
local function write_taken()
    if taken > 0 then
        redis.call('HINCRBY', wallet, 'available', string.format('-%.0f', taken))
        redis.call('HINCRBY', wallet, 'held', string.format('%.0f', taken))
        for category, micros in pairs(taken_by_category) do count_held(wallet, category, key, micros) end
    end
    local pairs_of_holds = {}
    for hold, text in pairs(taken_holds) do
        pairs_of_holds[#pairs_of_holds + 1], pairs_of_holds[#pairs_of_holds + 2] = hold, text
    end
    write_all(holds, pairs_of_holds)
end

local function window_end(state, name)
    local ends = tonumber(state[name] or '0')
    return now < ends and ends or nil
end

-- Each condition returns its evidence where it holds, and nil where it does not. A ridden conversation also returns the
-- hold that opened it and whether it is a paid one; of several the free one is ridden.
local conditions = {
    always = function() return '' end,
    window = function(term, state)
        local ends = window_end(state, term.window)
        if ends then return string.format('%s until %.0f', term.window, ends) end
    end,
    pool = function(term, _, units)
        local used = tonumber(redis.call('HGET', wallet, 'pool:' .. term.pool) or '0') + units
        if used < term.size then return string.format('unit %.0f of %.0f in %s', used + 1, term.size, term.pool) end
    end,
    conversation = function(term, state)
        local evidence, opener, paid
        for _, category in ipairs(term.of) do
            local ends, is_paid, hold = string.match(state['conv:' .. category] or '', '^(%d+):(%d):(.*)$')
            if ends and (ends == '0' or now < tonumber(ends)) and (not evidence or (paid and is_paid == '0')) then
                evidence = category .. ' conversation ' .. (ends == '0' and 'pending' or 'until ' .. ends)
                opener, paid = hold, is_paid == '1'
            end
        end
        return evidence, opener, paid
    end,
}

local function holds_true(term, state, units)
    local evidence, opener, paid = conditions[term.when](term, state, units)
    if evidence and term.within then
        local ends = window_end(state, term.within)
        if not ends then return nil end
        evidence = string.format('%s until %.0f %s', term.within, ends, evidence)
    end
    return evidence, opener, paid or term.paid or false
end

local function enough(fare)
    if cover then return available - block_at >= fare and available > block_at end
    return available > block_at
end

-- Finds the first spend limit that the parts would exceed. Nothing free is stopped by one.
local function reached(parts)
    for place, limit in ipairs(limits) do
        local period, name, category = limit[1], limit[2], limit[3]
        local fare = 0
        for _, part in ipairs(parts) do
            if category == '' or category == part.category or category == key then fare = fare + tonumber(part.term.fare) end
        end
        if fare > 0 then
            local held = redis.call('HGET', wallet, category == '' and 'held' or 'held:' .. category) or '0'
            local just_taken = (category == '' or category == key) and taken or taken_by_category[category] or 0
            local spent = tonumber(held) + just_taken + charged_since(wallet, period, name, category)
            if spent + fare > tonumber(limit[4]) then return {place, string.format('%.0f', spent)} end
        end
    end
    return {}
end

local function take(part)
    local hold, term, index, recipient, paid = part.hold, part.term, part.index, part.recipient, part.paid
    local fare, pool = tonumber(term.fare), term.pool or ''
    if term.pool then redis.call('HINCRBY', wallet, 'pool:' .. pool, 1) end
    if term.opens_window then
        redis.call('HSET', recipient, term.opens_window, string.format('%.0f', now + term.for_ms))
    end
    if term.opens then
        redis.call('HSET', recipient, 'conv:' .. term.opens, string.format('0:%d:%s', paid and 1 or 0, hold))
    end
    if term.opens_window or term.opens then
        write(recipient, 'epoch', epoch)
    end
    if fare > 0 then
        taken, available = taken + fare, available - fare
        taken_by_category[part.category] = (taken_by_category[part.category] or 0) + fare
    end
    -- What costs nothing and takes no unit has nothing to give back; one that opens a conversation must be found again.
    if fare > 0 or pool ~= '' or term.opens then
        taken_holds[hold] = term.fare .. ':' .. index .. ':' .. pool
    end
end

-- Gives a send its turn; returns in how many ms that is. Where it is too long to wait no turn is given.
local function turn()
    if not per_second then return 0 end
    local next_due = math.max(due, now - BURST_MS)
    local wait = math.max(0, math.ceil(next_due - now))
    if wait <= QUEUE_MS then due = next_due + 1000 / per_second end
    return wait
end

-- Finds the term that holds for a part. `units` are the free units that earlier parts of the same send will take.
local function choose(part, units)
    for index, term in ipairs(part.terms) do
        local evidence, opener, paid = holds_true(term, part.state, units)
        if evidence then
            part.index, part.term, part.evidence, part.opener, part.paid = index, term, evidence, opener or '', paid
            return
        end
    end
    error('an offer must end with a term that always holds')
end

local function every_term(part)
    local seen = {}
    for index, term in ipairs(part.terms) do
        local evidence, _, paid = holds_true(term, part.state, 0)
        seen[index] = {evidence and 1 or 0, evidence or '', paid and 1 or 0}
    end
    return seen
end

-- Reads the recipients of a send's parts, each once and as a whole: one command costs more than what it brings too much.
-- Tells whether all of them are known.
local function read_recipients(parts)
    local states = {}
    for _, part in ipairs(parts) do
        if not states[part.recipient] then
            local state, fields = {}, redis.call('HGETALL', part.recipient)
            for i = 1, #fields, 2 do state[fields[i]] = fields[i + 1] end
            if mode ~= 'dry' and not epoch_counts(state.epoch, epoch, filled) then return false end
            states[part.recipient] = state
        end
        part.state = states[part.recipient]
    end
    return true
end

local function decide(parts)
    if not read_recipients(parts) then return {'unread', string.format('%.0f', available), {}, 0} end
    local fare, units, paid, before = 0, 0, false, false
    for _, part in ipairs(parts) do
        local known = taken_holds[part.hold] or part.known
        if known then
            before = true
            part.index = tonumber(string.match(known, '^%d+:(%d+):'))
            part.term, part.evidence, part.opener = part.terms[part.index], '', ''
            part.paid = part.term.paid or false
        else
            choose(part, units)
        end
        fare, paid = fare + tonumber(part.term.fare), paid or part.paid
        if part.term.pool then units = units + 1 end
    end
    local limit = before and {} or reached(parts)
    local outcome = 'taken'
    if not before and paid and not enough(fare) then
        outcome, limit = 'refused', {}
    elseif limit[1] then
        outcome = 'limited'
    end
    if outcome ~= 'taken' and mode == 'shadow' then outcome = 'overdrawn' end
    local wait = 0
    if not before and (outcome == 'taken' or outcome == 'overdrawn') and mode ~= 'dry' then
        wait = turn()
        if wait > QUEUE_MS then
            outcome = 'paced'
        else
            for _, part in ipairs(parts) do take(part) end
        end
    end
    local result = {outcome, string.format('%.0f', available), limit, wait}
    for i, part in ipairs(parts) do
        result[i + 4] = {part.index, part.evidence, part.paid and 1 or 0, part.opener, mode == 'dry' and every_term(part) or nil}
    end
    return result
end

-- Sends that are alike have the same offer and the same limits: each text is read once.
local decoded = {}

local function json(text)
    if not decoded[text] then decoded[text] = cjson.decode(text) end
    return decoded[text]
end

local argument, name = 1, 0  -- the places of what was read last

local function next_argument()
    argument = argument + 1
    return ARGV[argument]
end

local function next_key()
    name = name + 1
    return KEYS[name]
end

-- Reads what is asked about a number; returns the parts of each of its sends.
local function read_number()
    wallet, holds = next_key(), next_key()
    block_at, cover, mode = tonumber(next_argument()), next_argument() == 'cover', next_argument()
    limits, key, per_second = json(next_argument()), next_argument(), tonumber(next_argument())
    if mode ~= 'enforce' then per_second = nil end
    local sends = {}
    for send = 1, tonumber(next_argument()) do
        local parts = {}
        for part = 1, tonumber(next_argument()) do
            parts[part] = {hold = next_argument(), category = next_argument(), terms = json(next_argument()),
                           recipient = next_key()}
        end
        sends[send] = parts
    end
    return sends
end

-- Finds the parts that were taken before, by a call whose answer was lost.
local function find_taken(sends)
    local asked, ids = {}, {}
    for _, parts in ipairs(sends) do
        for _, part in ipairs(parts) do asked[#asked + 1], ids[#ids + 1] = part, part.hold end
    end
    for first = 1, #ids, AT_ONCE do
        local known = redis.call('HMGET', holds, unpack(ids, first, math.min(first + AT_ONCE - 1, #ids)))
        for place, text in ipairs(known) do asked[first + place - 1].known = text end
    end
end

local function decide_all(sends)
    if not read_wallet() then return {''} end
    find_taken(sends)
    local results = {epoch}
    for _, parts in ipairs(sends) do results[#results + 1] = decide(parts) end
    write_taken()
    if per_second then redis.call('HSET', wallet, 'due', string.format('%.3f', due)) end
    return results
end

-- Returns what is wrong with one number, which is not the others' business. What the store says of itself (that it is a
-- replica now, or full) is raised: the client must hear it, and leave.
local function error_of_one_number(met)
    local text = type(met) == 'table' and met.err or tostring(met)
    local code = string.match(text, '^(%u+) ')
    if code and code ~= 'ERR' and code ~= 'WRONGTYPE' then error({err = text}) end
    return text
end

local answers = {}
while ARGV[argument + 1] do
    local sends = read_number()
    local ran, answer = pcall(decide_all, sends)
    answers[#answers + 1] = ran and answer or redis.error_reply(error_of_one_number(answer))
end
return answers
