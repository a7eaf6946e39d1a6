# A decision that is an object: who it is goes to the upstream, the reason to the client.
package decisions

default decision := {
	"allowed": false,
	"http_status": 401,
	"headers": {"www-authenticate": "Bearer", "content-type": "application/json"},
	"body": "{\"error\": \"no user\"}",
}

decision := {
	"allowed": true,
	"headers": {"x-user": user, "x-roles": roles},
	"request_headers_to_remove": ["authorization", "x-debug"],
	"response_headers_to_add": {"x-decided-by": "opa"},
	"query_parameters_to_set": {"tenant": "t1"},
	"query_parameters_to_remove": ["debug"],
	"dynamic_metadata": {"user": user},
} if {
	user
	not blocked
}

decision := {
	"allowed": false,
	"http_status": 403,
	"headers": [{"x-reason": "blocked"}],
	"body": sprintf("%s is blocked\n", [user]),
	"dynamic_metadata": {"user": user},
} if {
	blocked
}

user := data.decisions_data.users[input.attributes.request.http.headers.authorization].name

roles := data.decisions_data.users[input.attributes.request.http.headers.authorization].roles

blocked if user in data.decisions_data.blocked
