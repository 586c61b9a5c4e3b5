-- Adds money to a number after the ledger has booked it.
--
-- KEYS[1] wallet, KEYS[2] a mark of this credit, kept for ARGV[3] seconds so that a repeated call adds nothing
-- ARGV[1] the number's epoch when the ledger booked it, ARGV[2] micro-units
-- Returns available, or "" where the wallet is missing or of another epoch: then it was (or will be) rebuilt from a ledger
-- that contains this money, and adding it here would add it twice.

if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return '' end
if redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[3]) then
    redis.call('HINCRBY', KEYS[1], 'available', ARGV[2])
end
return redis.call('HGET', KEYS[1], 'available')
