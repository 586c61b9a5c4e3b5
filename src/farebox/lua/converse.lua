-- Moves a user's conversation after the ledger knows what became of the message that opened it.
--
-- KEYS[1] wallet, KEYS[2] recipient (see take.lua)
-- ARGV[1] category, ARGV[2] hold id of the opener, ARGV[3] what to write, "" to forget it
-- ARGV[4] how long a store may keep the hash, in ms
-- A conversation of another opener is left alone unless it is over (ARGV[5] is now): a late word of an old message must not
-- close a newer conversation. A recipient that was not read from the ledger in this epoch is left alone as in open.lua.

local state = redis.call('HMGET', KEYS[1], 'epoch', 'filled')
local epoch, recipient = state[1], KEYS[2]
if not epoch then return 0 end
local known, of = is_known(recipient, epoch, state[2])
if not known then
    if of then redis.call('HSET', recipient, 'epoch', '') end
    return 0
end

local field = 'conv:' .. ARGV[1]
local ends, hold = string.match(redis.call('HGET', recipient, field) or '', '^(%d+):%d:(.*)$')
if ends and hold ~= ARGV[2] and (ends == '0' or tonumber(ARGV[5]) < tonumber(ends)) then return 0 end
if ARGV[3] == '' then return redis.call('HDEL', recipient, field) end
redis.call('HSET', recipient, 'epoch', epoch, field, ARGV[3])
redis.call('PEXPIRE', recipient, ARGV[4])
return 1
