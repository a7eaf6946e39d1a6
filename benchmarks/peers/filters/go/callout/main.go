// Asks the cluster `users` who a request comes from, and tells the upstream.
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

func denied() {
	if err := proxywasm.SendHttpResponse(403, nil, nil, -1); err != nil {
		proxywasm.LogErrorf("no answer: %v", err)
	}
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	token, _ := proxywasm.GetHttpRequestHeader("authorization")
	question := [][2]string{
		{":method", "GET"}, {":path", "/v1/me"}, {":authority", "users"}, {"authorization", token},
	}
	if _, err := proxywasm.DispatchHttpCall("users", question, nil, nil, 5000, s.answered); err != nil {
		denied()
	}
	return types.ActionPause
}

func (s *stream) answered(_, size, _ int) {
	headers, err := proxywasm.GetHttpCallResponseHeaders()
	if err != nil {
		denied()
		return
	}
	name, err := proxywasm.GetHttpCallResponseBody(0, size)
	if err != nil {
		denied()
		return
	}
	for _, header := range headers {
		if header[0] == ":status" && header[1] == "200" {
			_ = proxywasm.ReplaceHttpRequestHeader("x-user", string(name))
			_ = proxywasm.ResumeHttpRequest()
			return
		}
	}
	denied()
}
