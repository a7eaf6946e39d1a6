package allow_list_test

import data.allow_list

request(method, path) := {"attributes": {"request": {"http": {"method": method}}}, "parsed_path": path}

test_a_listed_path_is_allowed if {
	allow_list.allow with input as request("GET", ["public"])
	allow_list.allow with input as request("HEAD", ["public", "a", "b"])
	allow_list.allow with input as request("POST", ["orders", "new"])
}

test_another_method_is_not_allowed if {
	not allow_list.allow with input as request("POST", ["public"])
}

test_another_path_is_not_allowed if {
	not allow_list.allow with input as request("GET", ["publicly"])
	not allow_list.allow with input as request("POST", ["orders"])
	not allow_list.allow with input as request("GET", [""])
}

test_nothing_is_allowed_without_a_request if {
	not allow_list.allow with input as {}
}
