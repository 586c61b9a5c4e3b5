-- wrk's part: paid templates, each to a recipient of its own. BENCH_NUMBERS: how many numbers send; with more than one
-- every second message is of the first, the hot one. BENCH_FIRST: where the recipients begin. BENCH_FIRST_ID: the id of
-- the first number.
local numbers = tonumber(os.getenv("BENCH_NUMBERS") or "1")
local first_id = tonumber(os.getenv("BENCH_FIRST_ID"))
local serial = tonumber(os.getenv("BENCH_FIRST") or "0")

local body = '{"messaging_product":"whatsapp","recipient_type":"individual","to":"+1650%07d","type":"template",'
    .. '"template":{"name":"order_update","language":{"code":"en_US"},'
    .. '"components":[{"type":"body","parameters":[{"type":"text","text":"1234"}]}]}}'

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function request()
    serial = serial + 1
    local number = 1
    if numbers > 1 and serial % 2 == 0 then number = serial / 2 % numbers + 1 end
    wrk.headers["Authorization"] = "Bearer fbx_bench-" .. number
    local path = string.format("/v23.0/%.0f/messages", first_id + number - 1)
    return wrk.format(nil, path, nil, string.format(body, 2000000 + serial % 8000000))
end
