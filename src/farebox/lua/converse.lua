-- Moves a user's conversation after the ledger knows what became of the message that opened it.
--
-- KEYS[1] wallet, KEYS[2] recipient (see take.lua)
-- ARGV[1] category, ARGV[2] hold id of the opener, ARGV[3] what to write, "" to forget it
-- What is open is left alone until it is over (ARGV[4] is now), since no word takes a delivery back: the failure that came
-- before it may be told after it. What is pending is left alone by another opener: a late word of an old message must not
-- close a newer conversation. A recipient that was not read from the ledger in this epoch is marked as in open.lua.

local state = redis.call('HMGET', KEYS[1], 'epoch', 'filled')
local epoch, recipient = state[1], KEYS[2]
if not epoch then return 0 end
if not is_known(recipient, epoch, state[2]) then
    write(recipient, 'epoch', '')
    return 0
end

local field = 'conv:' .. ARGV[1]
local ends, hold = string.match(redis.call('HGET', recipient, field) or '', '^(%d+):%d:(.*)$')
if ends and (tonumber(ARGV[4]) < tonumber(ends) or (ends == '0' and hold ~= ARGV[2])) then return 0 end
if ARGV[3] == '' then return redis.call('HDEL', recipient, field) end
write(recipient, 'epoch', epoch, field, ARGV[3])
return 1
