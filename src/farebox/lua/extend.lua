-- Raises a hold to a bill that is dearer, before the ledger charges it: the wallet is taken from first.
-- Also sets a hold aside anew that had already ended (a late delivery), or that had cost nothing. Available may go below
-- zero: the message was delivered, so the fare is due.
--
-- KEYS[1] wallet, KEYS[2] open holds (see take.lua); ARGV[1] epoch or "" for the current one, ARGV[2] hold, ARGV[3] billed
-- ARGV[4] the pool of a free unit that it takes over from another hold, "" for none
-- ARGV[5], ARGV[6] what the ledger says is set aside, micro-units and pool: counts where the hold is of an older epoch
-- ARGV[7], ARGV[8] the hold's category and key (see _shared.lua)
-- Returns the wallet's epoch, or "" where the wallet is missing. Changes nothing where the epoch is another: that wallet was
-- rebuilt from a ledger that knows more than the caller. A repeated call changes nothing.

local wallet, holds = KEYS[1], KEYS[2]
local epoch = redis.call('HGET', wallet, 'epoch')
if not epoch then return '' end
if ARGV[1] ~= '' and ARGV[1] ~= epoch then return epoch end

local known = redis.call('HGET', holds, ARGV[2]) or (ARGV[5] .. ':0:' .. ARGV[6])
local fare, term, pool = string.match(known, '^(%d+):(%d+):(.*)$')
local more, unit = tonumber(ARGV[3]) - tonumber(fare), pool == '' and ARGV[4] or ''
if more > 0 then
    redis.call('HINCRBY', wallet, 'available', string.format('-%.0f', more))
    redis.call('HINCRBY', wallet, 'held', string.format('%.0f', more))
    count_held(wallet, ARGV[7], ARGV[8], more)
end
if unit ~= '' then redis.call('HINCRBY', wallet, 'pool:' .. unit, 1) end
if more > 0 or unit ~= '' then
    redis.call('HSET', holds, ARGV[2], (more > 0 and ARGV[3] or fare) .. ':' .. term .. ':' .. (unit ~= '' and unit or pool))
end
return epoch
