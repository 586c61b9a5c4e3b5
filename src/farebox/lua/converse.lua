-- Moves a user's conversation after the ledger knows what became of the message that opened it.
--
-- KEYS[1] recipient (see take.lua); ARGV[1] category, ARGV[2] hold id of the opener, ARGV[3] what to write, "" to forget it
-- ARGV[4] how long a store may keep the hash, in ms
-- A conversation of another opener is left alone unless it is over (ARGV[5] is now): a late word of an old message must not
-- close a newer conversation.

local field = 'conv:' .. ARGV[1]
local ends, hold = string.match(redis.call('HGET', KEYS[1], field) or '', '^(%d+):%d:(.*)$')
if ends and hold ~= ARGV[2] and (ends == '0' or tonumber(ARGV[5]) < tonumber(ends)) then return 0 end
if ARGV[3] == '' then return redis.call('HDEL', KEYS[1], field) end
redis.call('HSET', KEYS[1], field, ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
