-- Opens and closes windows of one number's users, after the ledger has done so. A window only grows: a repeated or late
-- webhook never shortens one. And one that is merely taken to open at some time does not grow if it was open then: what
-- travels in a window does not make it longer.
--
-- KEYS[1] wallet, KEYS[n] the recipient of each window (see take.lua)
-- ARGV for each of them: the window's name, its end in ms ("" closes it), and the time in ms at which it must not be open yet, or ""
-- A recipient that was not read from the ledger in this epoch is marked to be read, and whoever is just reading it reads again.
-- One without a hash too: its window may have come to the ledger after all users were listed there who are being read. And one
-- whose wallet is missing: a wallet may just be written that the ledger told nothing of this window yet.

local state = redis.call('HMGET', KEYS[1], 'epoch', 'filled')
local epoch, filled = state[1], state[2]

local function grow(windows, name, ends, start)
    local open_until = tonumber(redis.call('HGET', windows, name) or '0')
    if open_until < tonumber(ends) and (start == '' or open_until <= tonumber(start)) then
        write(windows, 'epoch', epoch, name, ends)
    end
end

for i = 2, #KEYS do
    local name, ends, start = ARGV[3 * i - 5], ARGV[3 * i - 4], ARGV[3 * i - 3]
    local known = epoch and is_known(KEYS[i], epoch, filled)
    if known and ends == '' then
        redis.call('HDEL', KEYS[i], name)
    elseif known then
        grow(KEYS[i], name, ends, start)
    else
        write(KEYS[i], 'epoch', '')
    end
end
return 1
