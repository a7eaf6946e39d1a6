-- Reads three headers of a request, and denies it unless they are as wanted.
function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get("x-tenant") ~= "acme" or headers:get("x-plan") ~= "gold" or headers:get("x-region") ~= "eu" then
    handle:respond({[":status"] = "403"}, "")
  end
end
