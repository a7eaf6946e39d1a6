# Who may call what: a list of methods and first segments of paths, in data.json.
package allow_list

default allow := false

allow if {
	some route in data.allow_list_data.routes
	input.attributes.request.http.method in route.methods
	starts_with_segments(input.parsed_path, route.path)
}

# /public and all below it; never by a prefix of the text, which /publicly has too.
starts_with_segments(path, prefix) if {
	count(path) >= count(prefix)
	array.slice(path, 0, count(prefix)) == prefix
}
