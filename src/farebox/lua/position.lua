-- Returns the money of wallets, each {epoch, available, held, "1" if filled}, or {} where it is missing or of another life
-- of the store.
-- KEYS wallets (see take.lua)

local identity, positions = store_identity(), {}
for place, wallet in ipairs(KEYS) do
    local state = redis.call('HMGET', wallet, 'epoch', 'available', 'held', 'filled', 'store')
    local alive = state[1] and state[5] == identity
    positions[place] = alive and {state[1], state[2], state[3], state[4] or ''} or {}
end
return positions
