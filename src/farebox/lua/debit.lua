-- Takes money from a number before the ledger books that it leaves (a refund, a transfer, an adjustment, a dispute).
--
-- KEYS[1] wallet, KEYS[2] a mark of this debit, kept for ARGV[3] seconds so that a repeated call takes nothing more
-- ARGV[1] micro-units; ARGV[2] what must be left available, "" where it may go below zero
-- Returns {epoch, available, "1" if it is taken}; {} where the wallet is missing or of another life of the store.
-- Amounts come and go as strings; sums are exact, since every amount is below 2^53.

local state = redis.call('HMGET', KEYS[1], 'epoch', 'available', 'store')
if not state[1] or state[3] ~= store_identity() then return {} end
if redis.call('GET', KEYS[2]) ~= state[1] then
    if ARGV[2] ~= '' and tonumber(state[2]) - tonumber(ARGV[1]) < tonumber(ARGV[2]) then
        return {state[1], state[2], ''}
    end
    redis.call('HINCRBY', KEYS[1], 'available', '-' .. ARGV[1])
    redis.call('SET', KEYS[2], state[1], 'EX', ARGV[3])  -- the epoch: what was taken from an older wallet went with it
end
return {state[1], redis.call('HGET', KEYS[1], 'available'), '1'}
