-- Writes what the ledger knows of a recipient (windows and conversations), if nothing changed it since it was marked.
--
-- KEYS[1] wallet, KEYS[2] recipient (see take.lua); ARGV[1] the wallet's epoch, ARGV[2] the mark (mark.lua)
-- then field and value, pair by pair
-- Returns 1 where it is known now, 0 where it must be marked and read again.

local recipient = KEYS[2]
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local of = redis.call('HGET', recipient, 'epoch')
if of == ARGV[1] then return 1 end
if of ~= ARGV[2] then return 0 end
write(recipient, 'epoch', ARGV[1])
for i = 3, #ARGV, 2 do redis.call('HSET', recipient, ARGV[i], ARGV[i + 1]) end
return 1
