"""The example policies: their own tests in Rego, and that the embedded OPA says what the real one says."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from opa_client.errors import DeleteDataError, PolicyNotFoundError, RegoParseError
from opa_process import POLICIES, OpaServer, running_opa

needs_opa = pytest.mark.skipif(
    shutil.which("opa") is None, reason="Rego's own tests need `opa`: regopy 1.5 crashes in `with` around functions"
)


@pytest.fixture(scope="module")
def embedded() -> Iterator[OpaServer]:
    with running_opa(embedded=True) as server:
        server.load(POLICIES)
        yield server


@needs_opa
def test_the_policies_pass_their_own_tests() -> None:
    done = subprocess.run(["opa", "test", str(POLICIES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("PASS: 13/13")


@needs_opa
def test_the_policies_are_as_opa_formats_them_and_compile_strictly() -> None:
    for command in (["opa", "fmt", "--list", str(POLICIES)], ["opa", "check", "--strict", str(POLICIES)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def request(method: str, authorization: str, *path: str) -> dict[str, Any]:
    http = {"method": method, "headers": {"authorization": authorization}}
    return {"attributes": {"request": {"http": http}}, "parsed_path": list(path)}


INPUTS: list[dict[str, Any]] = [
    {},
    request("GET", "", "public", "x"),
    request("POST", "Bearer alice", "orders", "new"),
    request("PUT", "Bearer mallory", "teams", "red"),
    request("GET", "Bearer bob", "publicly"),
    request("GET", "Bearer x", ""),
    {"request_method": "GET", "request_url_path": "/public", "source_principal": "", "destination_workload": ""},
]
RULES = [("allow_list", "allow"), ("jwt_claims", "allow"), ("decisions", "decision"), ("test", "allow"), ("test", "no")]


@pytest.mark.parametrize(("package", "rule"), RULES)
def test_the_embedded_server_says_what_the_other_says(
    opa: OpaServer, embedded: OpaServer, package: str, rule: str
) -> None:
    with opa.client() as real, embedded.client() as stand_in:
        for each in INPUTS:
            answer = real.query_rule(each, package, rule)
            answer.pop("decision_id", None)
            assert stand_in.query_rule(each, package, rule) == answer, json.dumps(each)


def test_a_function_that_fails_is_an_error_of_the_embedded_server(embedded: OpaServer) -> None:
    """OPA itself goes on with an undefined value. What is no decision denies."""
    question = {"input": request("GET", "Bearer a.b.c", "")}
    url = f"http://{embedded.host}:{embedded.port}/v1/data/jwt_claims/allow"
    assert requests.post(url, json=question, timeout=10).status_code == 500


def test_the_embedded_server_keeps_policies_and_data(embedded: OpaServer) -> None:
    with embedded.client() as client:
        assert client.check_health()
        client.update_policy_from_string("package kept\n\nx := data.things.a.b\n", "kept", rego_compat=False)
        assert "kept" in client.get_policies_list()
        assert client.query_rule({}, "kept", "x") == {}
        client.update_or_create_data({"b": 1}, "things/a")
        assert client.query_rule({}, "kept", "x") == {"result": 1}
        assert client.get_data("things") == {"result": {"a": {"b": 1}}}
        with pytest.raises(RegoParseError):
            client.update_policy_from_string("package kept\n\nx := {", "kept", rego_compat=False)
        assert client.query_rule({}, "kept", "x") == {"result": 1}
        client.delete_data("things/a")
        assert client.query_rule({}, "kept", "x") == {}
        with pytest.raises(DeleteDataError):
            client.delete_data("nothing/here")
        client.delete_policy("kept")
        with pytest.raises(PolicyNotFoundError):
            client.get_policy("kept")


@pytest.mark.parametrize("without_opa", [False, True])
def test_what_run_starts_says_where_and_what_it_is(without_opa: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if without_opa:
        monkeypatch.setenv("PATH", "")
    embedded = without_opa or shutil.which("opa") is None
    program = POLICIES.parent / "opa_server" / "run_opa.py"
    process = subprocess.Popen([sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        address, words = process.stdout.readline().strip(), process.stdout.readline()
        question = {"input": request("GET", "", "public")}
        answer = requests.post(f"http://{address}/v1/data/allow_list/allow", json=question, timeout=10)
        process.communicate(timeout=20)  # its standard input ends, and so does it
    assert answer.json() == {"result": True}
    assert words.startswith("embedded server over regopy 1." if embedded else "opa 1.")
    assert words.endswith(", with the policies in policies\n")
    assert process.returncode == 0
