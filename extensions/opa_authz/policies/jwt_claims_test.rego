package jwt_claims_test

import data.jwt_claims

# Signed with the key in data.json: alice, an editor, and bob, a reader, both of the team red, until the year 2100.
editor := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsInJvbGVzIjpbImVkaXRvciJdLCJ0ZWFtIjoicmVkIiwiZXhwIjo0MTAyNDQ0ODAwfQ.-VdK-GRtDYld028Mx4wkVmqL7niKHgsEgNNJ2HacWGE"

reader := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJib2IiLCJyb2xlcyI6WyJyZWFkZXIiXSwidGVhbSI6InJlZCIsImV4cCI6NDEwMjQ0NDgwMH0.9KO7vI1oEq9YrZO9KZF6N_a-XCn9d9l5D-FfdePe0wU"

# The editor's, but until the year 2000.
expired := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsInJvbGVzIjpbImVkaXRvciJdLCJ0ZWFtIjoicmVkIiwiZXhwIjo5NDY2ODQ4MDB9.udH9nDOz-g_1nqdJP-oeJRy7Nu8P4OJ5Txs_VIOBN6M"

# The editor's, but signed with another key.
forged := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsInJvbGVzIjpbImVkaXRvciJdLCJ0ZWFtIjoicmVkIiwiZXhwIjo0MTAyNDQ0ODAwfQ.mt2Ocgprr58elz27A-DtaviXubdCSoQngvyBuGzT_b4"

request(method, path, token) := {
	"attributes": {"request": {"http": {"method": method, "headers": {"authorization": concat(" ", ["Bearer", token])}}}},
	"parsed_path": path,
}

test_anybody_with_a_token_may_read if {
	jwt_claims.allow with input as request("GET", ["anything"], reader)
	jwt_claims.allow with input as request("HEAD", [""], editor)
}

test_editors_may_write_below_their_own_team if {
	jwt_claims.allow with input as request("PUT", ["teams", "red", "logo"], editor)
	not jwt_claims.allow with input as request("PUT", ["teams", "blue", "logo"], editor)
	not jwt_claims.allow with input as request("PUT", ["teams"], editor)
}

test_readers_may_not_write if {
	not jwt_claims.allow with input as request("PUT", ["teams", "red", "logo"], reader)
}

test_a_token_that_has_expired_or_was_forged_is_none if {
	not jwt_claims.allow with input as request("GET", ["anything"], expired)
	not jwt_claims.allow with input as request("GET", ["anything"], forged)
	not jwt_claims.allow with input as request("GET", ["anything"], "")
}
