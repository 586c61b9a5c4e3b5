-- Returns everything that a decision about a recipient looks at: {wallet, recipient} as flat lists of fields and values;
-- {} where the wallet is missing or of another life of the store, {""} where the recipient must be read from the ledger first.
-- KEYS[1] wallet, KEYS[2] recipient (see take.lua)

local state = redis.call('HMGET', KEYS[1], 'epoch', 'store', 'filled')
if not state[1] or state[2] ~= store_identity() then return {} end
if not is_known(KEYS[2], state[1], state[3]) then return {''} end
return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])}
