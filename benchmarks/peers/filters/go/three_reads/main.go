// Reads three headers of a request, and denies it unless they are as wanted.
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

// is tells whether a header is there and has the value.
func is(name, wanted string) bool {
	value, err := proxywasm.GetHttpRequestHeader(name)
	return err == nil && value == wanted
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	if is("x-tenant", "acme") && is("x-plan", "gold") && is("x-region", "eu") {
		return types.ActionContinue
	}
	if err := proxywasm.SendHttpResponse(403, nil, nil, -1); err != nil {
		proxywasm.LogErrorf("no answer: %v", err)
	}
	return types.ActionPause
}
