-- Opens windows of one number's users. A window only grows: a repeated or late webhook never shortens one. And one that is
-- merely taken to open at some time does not grow if it was open then: what travels in a window does not make it longer.
--
-- KEYS[n] windows hash of a user; ARGV[1] how long a store may keep the hash, in ms
-- then for each key: the window's name, its end in ms, and the time in ms at which it must not be open yet, or ""

for i, windows in ipairs(KEYS) do
    local name, ends, start = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
    local known = tonumber(redis.call('HGET', windows, name) or '0')
    if known < tonumber(ends) and (start == '' or known <= tonumber(start)) then
        redis.call('HSET', windows, name, ends)
        redis.call('PEXPIRE', windows, ARGV[1])
    end
end
return #KEYS
