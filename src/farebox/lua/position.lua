-- Returns a wallet's money: {epoch, available, held, "1" if filled}, or {} where it is missing or of another life of the store.
-- KEYS[1] wallet (see take.lua)

local state = redis.call('HMGET', KEYS[1], 'epoch', 'available', 'held', 'filled', 'store')
if not state[1] or state[5] ~= store_identity() then return {} end
return {state[1], state[2], state[3], state[4] or ''}
