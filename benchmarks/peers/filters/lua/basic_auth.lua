-- Basic authentication of what is below a path. The credentials are compared as they are sent: Lua in Envoy neither decodes base64 nor hashes.
local PREFIX = "/"
local METHODS = {GET = true}
local USERS = {["YWxpY2U6c2VjcmV0"] = "alice"}

local function unescaped(path)
  return (path:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- The path without its query, escapes, dot segments and repeated slashes.
local function normalized(path)
  path = path:match("^[^?#]*")
  if not path:find("[%%\\]") and not path:find("/[./]") then
    return path
  end
  local segments = {}
  for segment in unescaped(path):gsub("\\", "/"):gmatch("[^/]+") do
    if segment == ".." then
      table.remove(segments)
    elseif segment ~= "." then
      segments[#segments + 1] = segment
    end
  end
  return "/" .. table.concat(segments, "/")
end

local function denied(handle)
  handle:respond({[":status"] = "401", ["www-authenticate"] = 'Basic realm="istio"'}, "")
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local user = nil
  if METHODS[headers:get(":method"):upper()] and normalized(headers:get(":path")):sub(1, #PREFIX) == PREFIX then
    local authorization = headers:get("authorization")
    if authorization == nil or headers:getNumValues("authorization") > 1 then
      return denied(handle)
    end
    local scheme, credentials = authorization:match("^ *(%S+) +(%S-)=* *$")
    user = scheme and scheme:lower() == "basic" and USERS[credentials] or nil
    if user == nil then
      return denied(handle)
    end
  end
  headers:remove("x-user")
  if user ~= nil then
    headers:add("x-user", user)
  end
end
