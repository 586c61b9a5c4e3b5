-- A metered send in nginx: reserve, forward, record. Variables of the server: store, reserve, record.
local cjson, redis = require "cjson.safe", require "nginx.redis"

local FARE_MICROS = 3400
local IDLE_MS, POOL_SIZE = 60000, 512

local function run(script, ...)
    local store = redis:new()
    local connected = store:connect(ngx.var.store)
    if not connected then return nil end
    local answer = store:evalsha(script, 3, "{peer}available", "{peer}holds", "{peer}journal", ...)
    store:set_keepalive(IDLE_MS, POOL_SIZE)
    return answer
end

ngx.req.read_body()
local body = ngx.req.get_body_data()
local message = body and cjson.decode(body)
if not message then return ngx.exit(400) end

local hold = ngx.var.request_id
local reserved = run(ngx.var.reserve, hold, FARE_MICROS, message.to)
if not reserved then return ngx.exit(503) end
if reserved ~= 1 then return ngx.exit(402) end

local answer = ngx.location.capture("/forward" .. ngx.var.uri, { method = ngx.HTTP_POST, body = body })
local accepted = cjson.decode(answer.body)
if accepted and accepted.messages then run(ngx.var.record, hold, accepted.messages[1].id) end

ngx.status = answer.status
ngx.header["Content-Type"] = "application/json"
ngx.print(answer.body)
