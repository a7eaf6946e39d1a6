// Reads all headers of a request, and adds one.
package main

import (
	"strconv"

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
	headers, err := proxywasm.GetHttpRequestHeaders()
	if err != nil {
		proxywasm.LogErrorf("no headers: %v", err)
		return types.ActionPause
	}
	size := 0
	for _, header := range headers {
		size += len(header[1])
	}
	if err := proxywasm.AddHttpRequestHeader("x-size", strconv.Itoa(size)); err != nil {
		proxywasm.LogErrorf("no header added: %v", err)
	}
	return types.ActionContinue
}
