package test_test

import data.test

client := "spiffe://cluster.local/ns/default/sa/client"

request(principal, workload, method, path) := {
	"source_principal": principal,
	"destination_workload": workload,
	"request_method": method,
	"request_url_path": path,
}

test_everybody_may_read_what_is_public if {
	test.allow with input as request("", "", "GET", "/public/x")
	not test.allow with input as request("", "", "POST", "/public/x")
	not test.allow with input as request("", "", "GET", "/x")
}

test_the_client_may_do_all_to_its_service if {
	test.allow with input as request(client, "httpbin", "POST", "/x")
	not test.allow with input as request(client, "other", "POST", "/x")
}
