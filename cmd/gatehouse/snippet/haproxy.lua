-- Written by "gatehouse snippet haproxy --lua" for HAProxy 2.6 or newer: asks Gatehouse about a request
-- and does what it answers. To be saved as /etc/haproxy/gatehouse.lua.
--
-- core.httpclient opens a connection for each check, follows no redirect and reads no body of the
-- request, which stays with HAProxy and is streamed to the app.

local check = "{{.Check.Base}}{{.Prefix}}/check/haproxy"
{{- with .Check.Socket}}
local socket = "unix@{{.}}"
{{- else}}
local socket = nil
{{- end}}
local patience = 15000 -- milliseconds

-- The headers that only Gatehouse may set: a client's copies go, whatever the answer holds.
local ours = { {{range .Identity}}"{{.}}", {{end}}"Cookie" }

-- Not to be repeated in the question: they are about this connection and its body.
local hop = {
  ["connection"] = true, ["keep-alive"] = true, ["proxy-connection"] = true, ["te"] = true, ["trailer"] = true,
  ["transfer-encoding"] = true, ["content-length"] = true, ["expect"] = true, ["host"] = true,
}

local guarded = {}
for _, name in ipairs(ours) do guarded[name:lower()] = true end

-- lines makes a list of the lines of a header, which HAProxy counts from 0.
local function lines(values)
  local list = {}
  for at = 0, #values do
    if values[at] ~= nil then list[#list + 1] = values[at] end
  end
  return list
end

local function first(headers, name)
  local values = headers[name:lower()]
  return values and (values[0] or values[1]) or ""
end

-- drops reports whether a client asks to have one of our headers dropped on the way to the app.
local function drops(sent)
  for _, line in ipairs(lines(sent["connection"] or {})) do
    for name in line:gmatch("[^,%s]+") do
      if guarded[name:lower()] then return true end
    end
  end
  return false
end

local function question(txn, sent, scheme, host)
  local headers = {}
  for name, values in pairs(sent) do
    if not hop[name] then headers[name] = lines(values) end
  end
  headers["x-forwarded-method"] = { txn.sf:method() }
  headers["x-forwarded-uri"] = { txn.sf:pathq() }
  headers["x-forwarded-proto"] = { scheme }
  headers["x-forwarded-host"] = { host }
  headers["x-forwarded-for"] = { txn.sf:src() }
  return headers
end

-- finish ends the transaction with what Gatehouse answered, or with our own words.
local function finish(txn, status, headers, body)
  local reply = txn:reply { status = status }
  for name, values in pairs(headers) do
    if not hop[name] then
      for _, value in ipairs(lines(values)) do reply:add_header(name, value) end
    end
  end
  reply:set_body(body or "")
  txn:done(reply)
end

local function plain(txn, status, text)
  finish(txn, status, {
    ["content-type"] = { [0] = "text/plain" }, ["cache-control"] = { [0] = "no-store" },
    ["retry-after"] = status == 503 and { [0] = "5" } or {},
  }, text .. "\n")
end

core.register_action("gatehouse", { "http-req" }, function(txn, scheme, host)
  local sent = txn.http:req_get_headers()
  if drops(sent) then
    return plain(txn, 400, "This request names an identity header in Connection.")
  end
  local answer = core.httpclient():get {
    url = check, headers = question(txn, sent, scheme, host), timeout = patience, dst = socket,
  }
  local status = answer and tonumber(answer.status) or 0
  if status == 200 then
    for _, name in ipairs(ours) do
      txn.http:req_del_header(name)
      local value = first(answer.headers, name)
      if value ~= "" then txn.http:req_set_header(name, value) end
    end
    txn:set_var("txn.gatehouse", "allowed")
    return
  end
  -- Without no-store, which all answers of Gatehouse have, it is HAProxy that could not reach it.
  if status < 300 or status > 599 or not first(answer.headers, "cache-control"):find("no-store", 1, true) then
    return plain(txn, 503, "It could not be found out who you are. Please try again in a moment.")
  end
  finish(txn, status, answer.headers, answer.body)
end, 2)
