-- What several scripts share; it stands before each of them.
--
-- A wallet belongs to one life of one store: `store` in its hash is the store's run id and replication id. A store that
-- restarted may have lost its last second, and a replica that took over its last messages: their ids differ, so such a
-- wallet counts as missing and is rebuilt from the ledger before anything is taken from it.
local function first_of(info, name)
    local _, last = string.find(info, name, 1, true)  -- plain: five times as fast as a pattern over the whole text
    return last and string.match(info, '^%x+', last + 1) or ''
end

local function store_identity()
    local info = redis.call('INFO', 'server', 'replication')
    return string.sub(first_of(info, 'run_id:'), 1, 16) .. string.sub(first_of(info, 'master_replid:'), 1, 16)
end

-- What is known of a recipient counts for one epoch of the wallet: its hash names that epoch in `epoch`. One without a
-- hash has nothing open, once all of the number's users were read (`filled` in the wallet). Any other must be read first.
local function epoch_counts(of, epoch, filled)
    return of == epoch or (not of and filled == '1')
end

local function is_known(recipient, epoch, filled)
    local of = redis.call('HGET', recipient, 'epoch')
    return epoch_counts(of, epoch, filled), of
end

-- The hashes of recipients have no expiry: forget.lua deletes those in which everything has long ended. One that a version
-- before that wrote may have one still, until forget.lua comes by; it must not end what is written now. GT raises it to what
-- that version would have set, and does nothing to a hash without one.
local OLDER_EXPIRY_MS = '691200000'  -- 8 days

local function write(recipient, ...)
    redis.call('HSET', recipient, ...)
    redis.call('PEXPIRE', recipient, OLDER_EXPIRY_MS, 'GT')
end

-- What a number spends is counted by category (farebox/core/limits.py): `held:<category>` is what is set aside, and
-- `day:<category>` and `month:<category>` what was charged, as "<day or month> <micro-units>"; without a category that of
-- all, and `key:<id>` in its place that of the messages of one key. One that names an earlier day counts as nothing; one that names a later day than we know of counts: it has begun.
local function charged_since(wallet, period, name, category)
    local since, micros = string.match(redis.call('HGET', wallet, period .. ':' .. category) or '', '^(%S+) (%d+)$')
    return since and since >= name and tonumber(micros) or 0
end

local function count_charge(wallet, category, key, day, micros)
    local month = string.sub(day, 1, 7)
    local counts = {{'day:', day}, {'day:' .. category, day}, {'month:', month}, {'month:' .. category, month}}
    if key ~= '' then counts[5], counts[6] = {'day:' .. key, day}, {'month:' .. key, month} end
    for _, count in ipairs(counts) do
        local field, name = count[1], count[2]
        local since, before = string.match(redis.call('HGET', wallet, field) or '', '^(%S+) (%d+)$')
        if not since or since <= name then
            local sum = (since == name and tonumber(before) or 0) + tonumber(micros)
            redis.call('HSET', wallet, field, string.format('%s %.0f', name, sum))
        end
    end
end

local function count_held(wallet, category, key, micros)
    if micros == 0 then return end
    redis.call('HINCRBY', wallet, 'held:' .. category, string.format('%.0f', micros))
    if key ~= '' then redis.call('HINCRBY', wallet, 'held:' .. key, string.format('%.0f', micros)) end
end

local AT_ONCE = 1000  -- values in one command: Lua hands only some thousands to one

-- Writes names and values of a hash, however many.
local function write_all(hash, fields)
    for first = 1, #fields, AT_ONCE do
        redis.call('HSET', hash, unpack(fields, first, math.min(first + AT_ONCE - 1, #fields)))
    end
end
