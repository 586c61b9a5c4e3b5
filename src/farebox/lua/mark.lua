-- Begins to read recipients from the ledger: whatever changes them from now on takes the mark away (open.lua), and learn.lua
-- finds out. So the ledger is read again rather than a change lost that came in between.
--
-- KEYS[1] wallet, KEYS[n] recipients (see take.lua); ARGV[1] the wallet's epoch, ARGV[2] a new mark: "?" and anything
-- Returns for each recipient its mark, "" if it is known; or "" alone where the wallet is of another epoch. Who finds a mark
-- goes on under it: what was read later is written as well as what was read first.

local state = redis.call('HMGET', KEYS[1], 'epoch', 'filled')
if state[1] ~= ARGV[1] then return '' end
local asked = {}
for i = 2, #KEYS do
    local known, of = is_known(KEYS[i], ARGV[1], state[2])
    if known then
        asked[i - 1] = ''
    elseif of and string.sub(of, 1, 1) == '?' then
        asked[i - 1] = of
    else
        asked[i - 1] = ARGV[2]
        redis.call('DEL', KEYS[i])
        redis.call('HSET', KEYS[i], 'epoch', ARGV[2])
    end
end
return asked
