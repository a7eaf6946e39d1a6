package decisions_test

import data.decisions

request(token) := {"attributes": {"request": {"http": {"headers": {"authorization": token}}}}}

test_who_it_is_goes_to_the_upstream if {
	decision := decisions.decision with input as request("Bearer alice")
	decision.allowed
	decision.headers == {"x-user": "alice", "x-roles": ["reader", "editor"]}
	"authorization" in decision.request_headers_to_remove
}

test_the_blocked_are_told_so if {
	decision := decisions.decision with input as request("Bearer mallory")
	not decision.allowed
	decision.body == "mallory is blocked\n"
}

test_others_are_asked_who_they_are if {
	decisions.decision.http_status == 401 with input as {}
	decisions.decision.http_status == 401 with input as request("Bearer nobody")
}
