# For the input "istio": the questions of istio-ecosystem's open_policy_agent, and the rule that it asks for.
package test

default allow := false

allow if {
	input.request_method == "GET"
	startswith(input.request_url_path, "/public")
}

allow if {
	input.source_principal == "spiffe://cluster.local/ns/default/sa/client"
	input.destination_workload == "httpbin"
}
