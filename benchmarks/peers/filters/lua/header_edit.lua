-- Reads all headers of a request, and adds one.
function envoy_on_request(handle)
  local headers = handle:headers()
  local size = 0
  for _, value in pairs(headers) do
    size = size + #value
  end
  headers:add("x-size", tostring(size))
end
