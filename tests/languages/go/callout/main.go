// Asks the cluster `users` who a request comes from; the request goes on with the answer, or not at all.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetHttpContext(func(uint32) types.HttpContext { return &stream{} })
}

type stream struct {
	types.DefaultHttpContext
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	token, _ := proxywasm.GetHttpRequestHeader("authorization")
	headers := [][2]string{{":method", "POST"}, {":path", "/whois"}, {":authority", "users"}}
	if _, err := proxywasm.DispatchHttpCall("users", headers, []byte(token), nil, 1000, s.answered); err != nil {
		_ = proxywasm.SendHttpResponse(500, nil, []byte("nobody to ask: "+err.Error()), -1)
	}
	return types.ActionPause
}

func (s *stream) answered(_, size, _ int) {
	headers, err := proxywasm.GetHttpCallResponseHeaders()
	if err != nil {
		proxywasm.LogErrorf("no headers: %v", err)
		return
	}
	body, err := proxywasm.GetHttpCallResponseBody(0, size)
	if err != nil {
		proxywasm.LogErrorf("no body: %v", err)
		return
	}
	for _, header := range headers {
		if header[0] == ":status" && header[1] != "200" {
			_ = proxywasm.SendHttpResponse(403, [][2]string{{"x-status", header[1]}}, body, -1)
			return
		}
	}
	_ = proxywasm.AddHttpRequestHeader("x-user", string(body))
	_ = proxywasm.ResumeHttpRequest()
}
