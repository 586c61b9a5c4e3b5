-- Deletes the hashes of recipients in which everything has long ended. It only cleans up: whatever it deletes, every decision
-- about the recipient stays the same.
--
-- KEYS recipients (see take.lua), of any numbers
-- ARGV[1] now in ms; ARGV[2] what had ended by then, in ms, is forgotten; ARGV[3] what began by then, in ms, has ended
-- Returns how many were deleted.
--
-- A hash that was written in an epoch, the wallet's or an older one, has everything that was open in it: what came later took
-- the epoch away, to have the recipient read from the ledger (open.lua). So nothing hangs on the wallet, which may be gone.
--   <window>        has its end.
--   conv:<category> has its end too. While it is pending its opener's hold lives, which began when its id says (UUID version 7).
--   Anything else is of a later version, and kept.
-- Without an epoch it is a reading that never came to its end, or a recipient that is to be read: what the ledger knows of it is
-- over once nothing has come for as long as a hold lives. Since when, `!<ms>` in place of the epoch says; whatever comes
-- writes over it.

local now, ended_by, begun_by = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local function has_ended(name, value)
    if name == 'epoch' then return true end
    local ends, rest = string.match(value, '^(%d+)(.*)$')
    if not ends or (rest ~= '') ~= (string.sub(name, 1, 5) == 'conv:') then return false end
    if tonumber(ends) > 0 then return tonumber(ends) <= ended_by end
    local seconds, more = string.match(rest, '^:%d:(%x+)%-(%x+)%-7')
    return seconds ~= nil and tonumber(seconds .. more, 16) <= begun_by
end

local function is_over(fields)
    local epoch = ''
    for i = 1, #fields, 2 do
        if fields[i] == 'epoch' then epoch = fields[i + 1] end
    end
    if not string.find(epoch, '^%d+$') then
        local since = string.match(epoch, '^!(%d+)$')
        return since and tonumber(since) <= begun_by, not since
    end
    for i = 1, #fields, 2 do
        if not has_ended(fields[i], fields[i + 1]) then return false end
    end
    return true
end

local deleted = 0
for _, recipient in ipairs(KEYS) do
    local fields = redis.call('HGETALL', recipient)
    local over, is_new = is_over(fields)
    if over then
        deleted = deleted + redis.call('DEL', recipient)
    elseif #fields > 0 then
        if is_new then redis.call('HSET', recipient, 'epoch', '!' .. now) end
        redis.call('PERSIST', recipient)  -- of an older version (see _shared.lua): its expiry knows nothing of what is pending
    end
end
return deleted
