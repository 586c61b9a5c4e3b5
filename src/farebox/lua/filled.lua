-- Notes that all users of a number who have something open were read from the ledger: any other has nothing open.
--
-- KEYS[1] wallet; ARGV[1] the wallet's epoch when the reading began. Returns 1, or 0 where the epoch is another.

if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'filled', '1')
return 1
