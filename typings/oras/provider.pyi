from oras.auth.token import TokenAuth
from oras.container import Container
from requests import Response, Session

class Registry:
    session: Session
    prefix: str
    auth: TokenAuth

    def __init__(
        self,
        hostname: str | None = None,
        insecure: bool = False,
        tls_verify: bool | str = True,
        auth_backend: str = "token",
    ) -> None: ...
    def get_blob(
        self, container: Container | str, digest: str, stream: bool = False, head: bool = False
    ) -> Response: ...
    def upload_blob(self, blob: str, container: Container | str, layer: dict[str, str | int]) -> Response: ...
    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        stream: bool = False,
    ) -> Response: ...
