"""Every field of the configuration, wrong: refused with a message that names the field, on all three hosts."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from proxy_wasm.testing import ConfigurationRejected, StartProxy

RULE: Mapping[str, Any] = {"prefix": "/", "request_methods": ["GET"], "credentials": ["alice:hunter2"]}
WITHOUT_PATH = {key: value for key, value in RULE.items() if key != "prefix"}


def rules(**fields: object) -> dict[str, object]:
    return {"basic_auth_rules": [RULE, {**RULE, **fields}]}


def path_rule(**fields: object) -> dict[str, object]:
    return {"basic_auth_rules": [{**WITHOUT_PATH, **fields}]}


BAD: list[tuple[object, str]] = [
    ("{", "configuration"),
    ("[]", "configuration: must be an object, is an array"),
    ("null", "configuration: must be an object, is null"),
    ({"realms": "x"}, "realms: is not known"),
    ({"realm": 5}, "realm: must be a string, is a number"),
    ({"realm": None}, "realm: must be a string, is null"),
    ({"realm": "a\r\nset-cookie: b"}, "realm: holds control characters"),
    ({"basic_auth_rules": {}}, "basic_auth_rules: must be an array, is an object"),
    ({"basic_auth_rules": [RULE, "x"]}, "basic_auth_rules[1]: must be an object, is a string"),
    (rules(path="/"), "basic_auth_rules[1].path: is not known"),
    (rules(hosts="example.com"), "basic_auth_rules[1].hosts: must be an array, is a string"),
    (rules(hosts=["a", 1]), "basic_auth_rules[1].hosts[1]: must be a string, is a number"),
    (rules(hosts=[""]), "basic_auth_rules[1].hosts[0]: is no host"),
    (rules(hosts=["*a*"]), "basic_auth_rules[1].hosts[0]: is no host"),
    (rules(hosts=["a.*.b"]), "basic_auth_rules[1].hosts[0]: is no host"),
    (rules(hosts=["https://example.com"]), "basic_auth_rules[1].hosts[0]: is no host"),
    (rules(hosts=["bücher.example"]), "basic_auth_rules[1].hosts[0]: is no host"),
    (path_rule(), "basic_auth_rules[0]: needs exactly one of prefix, exact, suffix, regex, has none"),
    (
        path_rule(prefix="/", regex="/"),
        "basic_auth_rules[0]: needs exactly one of prefix, exact, suffix, regex, has prefix and regex",
    ),
    (path_rule(prefix=7), "basic_auth_rules[0].prefix: must be a string, is a number"),
    (path_rule(prefix=""), "basic_auth_rules[0].prefix: needs at least one character"),
    (path_rule(prefix="admin"), "basic_auth_rules[0].prefix: must begin with '/'"),
    (path_rule(prefix="/a/../b"), "basic_auth_rules[0].prefix: holds a dot segment"),
    (path_rule(prefix="/a%00"), "basic_auth_rules[0].prefix: holds characters that no path may hold"),
    (path_rule(prefix="/\ud800"), "basic_auth_rules[0].prefix: holds half of a surrogate pair"),
    (path_rule(exact=True), "basic_auth_rules[0].exact: must be a string, is a boolean"),
    (path_rule(exact="/a?b"), "basic_auth_rules[0].exact: holds a query or a fragment"),
    (path_rule(exact="/a/."), "basic_auth_rules[0].exact: holds a dot segment"),
    (path_rule(exact=""), "basic_auth_rules[0].exact: needs at least one character"),
    (path_rule(suffix=[]), "basic_auth_rules[0].suffix: must be a string, is an array"),
    (path_rule(suffix="/100%"), "basic_auth_rules[0].suffix: holds a '%' that begins no escape"),
    (path_rule(suffix="x/.."), "basic_auth_rules[0].suffix: holds a dot segment"),
    (path_rule(suffix=""), "basic_auth_rules[0].suffix: needs at least one character"),
    (path_rule(regex={}), "basic_auth_rules[0].regex: must be a string, is an object"),
    (path_rule(regex="/(a"), "basic_auth_rules[0].regex: is no regular expression: missing ), unterminated subpattern"),
    (path_rule(regex=""), "basic_auth_rules[0].regex: needs at least one character"),
    (rules(request_methods="GET"), "basic_auth_rules[1].request_methods: must be an array, is a string"),
    (rules(request_methods=[]), "basic_auth_rules[1].request_methods: needs at least one entry"),
    (rules(request_methods=["GET", None]), "basic_auth_rules[1].request_methods[1]: must be a string, is null"),
    (rules(request_methods=["GET POST"]), "basic_auth_rules[1].request_methods[0]: is not the name of a method"),
    (rules(credentials="hunter2:hunter2"), "basic_auth_rules[1].credentials: must be an array, is a string"),
    (rules(credentials=[]), "basic_auth_rules[1].credentials: needs at least one entry"),
    (rules(credentials=["a:hunter2", 5]), "basic_auth_rules[1].credentials[1]: must be a string, is a number"),
    (
        rules(credentials=["hunter2"]),
        "basic_auth_rules[1].credentials[0]: must be 'user:password' or the base64 form of it",
    ),
    (rules(credentials=["aHVudGVyMg=="]), "basic_auth_rules[1].credentials[0]: must be 'user:password' or the base64"),
    (rules(credentials=[":"]), "basic_auth_rules[1].credentials[0]: must be 'user:password'"),
    (rules(credentials=["a:" + "hunter2" * 600]), "basic_auth_rules[1].credentials[0]: must be 'user:password'"),
    (rules(credentials=["a\n:hunter2"]), "basic_auth_rules[1].credentials[0]: the username holds control characters"),
    (
        rules(credentials=["a:{SHA}hunter2"]),
        "basic_auth_rules[1].credentials[0]: what follows the hash's name must be base64 of 20",
    ),
    (
        rules(credentials=["a:{SSHA256}aHVudGVyMg=="]),
        "basic_auth_rules[1].credentials[0]: what follows the hash's name must be",
    ),
    (rules(credentials=["a:{SSHA256}" + "A" * 43 + "="]), "must be base64 of 32 bytes and a salt"),
    (
        rules(credentials=["a:{MD5}hunter2"]),
        "basic_auth_rules[1].credentials[0]: the password is hashed in a way that is not known",
    ),
    (
        rules(credentials=["a:$2y$05$hunter2"]),
        "basic_auth_rules[1].credentials[0]: the password is hashed in a way that is not",
    ),
    ({"forward_username_header": 1}, "forward_username_header: must be a string, is a number"),
    ({"forward_username_header": ""}, "forward_username_header: is not the name of a header"),
    ({"forward_username_header": "x user"}, "forward_username_header: is not the name of a header"),
    ({"forward_username_header": ":path"}, "forward_username_header: is not the name of a header"),
    ({"forward_username_header": "Host"}, "forward_username_header: cannot be 'host'"),
    ({"remove_authorization_header": "yes"}, "remove_authorization_header: must be true or false, is a string"),
]


@pytest.mark.parametrize(("configuration", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_configuration_is_refused_by_the_path_of_the_field(
    start_proxy: StartProxy, configuration: object, message: str
) -> None:
    text = configuration if isinstance(configuration, str) else json.dumps(configuration)
    with pytest.raises(ConfigurationRejected) as rejection:
        start_proxy(configuration=text)
    assert message in str(rejection.value)
    assert "hunter2" not in str(rejection.value)
