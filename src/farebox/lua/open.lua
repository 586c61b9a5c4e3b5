-- Opens windows of one number's users. A window only grows: a repeated or late webhook never shortens one.
--
-- KEYS[n] windows hash of a user; ARGV[1] how long a store may keep the hash, in ms
-- then for each key: the window's name and its end in ms

for i, windows in ipairs(KEYS) do
    local name, ends = ARGV[2 * i], ARGV[2 * i + 1]
    if tonumber(redis.call('HGET', windows, name) or '0') < tonumber(ends) then
        redis.call('HSET', windows, name, ends)
        redis.call('PEXPIRE', windows, ARGV[1])
    end
end
return #KEYS
