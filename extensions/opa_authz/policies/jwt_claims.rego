# By the claims of a JWT: anybody with a valid one may read, editors may write below their own team.
package jwt_claims

default allow := false

allow if {
	claims
	input.attributes.request.http.method in {"GET", "HEAD"}
}

allow if {
	"editor" in claims.roles
	input.attributes.request.http.method in {"POST", "PUT", "DELETE"}
	input.parsed_path[0] == "teams"
	input.parsed_path[1] == claims.team
}

# Undefined unless there is a token, signed with the key in data.json, that has not expired.
claims := payload if {
	token := trim_prefix(input.attributes.request.http.headers.authorization, "Bearer ")
	[valid, _, payload] := io.jwt.decode_verify(token, {"alg": "HS256", "secret": data.jwt_claims_data.key})
	valid
	payload.exp # a token without an end is none
}
