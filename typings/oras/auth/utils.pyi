class authHeader:  # noqa: N801 - its name there
    service: str | None
    realm: str | None
    scope: str | None

def parse_auth_header(authHeaderRaw: str) -> authHeader: ...  # noqa: N803
def get_basic_auth(username: str, password: str) -> str: ...
