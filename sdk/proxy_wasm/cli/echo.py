"""The upstream that `run` offers: it answers with the request as it arrived."""

from proxy_wasm.envoy import Message, encode_response


def echo(request: Message) -> bytes:
    """200 with the request's first line, headers, body and trailers as text."""
    lines = [b" ".join(request.start), *(b"%b: %b" % pair for pair in request.headers), b""]
    text = b"".join(line + b"\n" for line in lines) + request.body
    if request.trailers:
        text += b"".join(b"\n%b: %b" % pair for pair in request.trailers) + b"\n"
    method = request.start[0].decode("latin-1")
    return encode_response(200, [(b"content-type", b"text/plain; charset=utf-8")], text, method=method)
