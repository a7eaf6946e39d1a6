class Container:
    registry: str
    namespace: str | None
    repository: str
    tag: str | None
    digest: str | None

    def __init__(self, name: str, registry: str | None = None) -> None: ...
    def get_blob_url(self, digest: str) -> str: ...
    def manifest_url(self, tag: str | None = None) -> str: ...
