// Reads a request's JSON, changes one field, and passes it on.
package main

import (
	"encoding/json"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetHttpContext(func(uint32) types.HttpContext { return &stream{} })
}

type stream struct {
	types.DefaultHttpContext
	size int
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	_ = proxywasm.RemoveHttpRequestHeader("content-length")
	return types.ActionContinue
}

func (s *stream) OnHttpRequestBody(size int, endOfStream bool) types.Action {
	s.size += size
	if !endOfStream {
		return types.ActionPause
	}
	body, err := proxywasm.GetHttpRequestBody(0, s.size)
	var document map[string]any
	if err == nil {
		err = json.Unmarshal(body, &document)
	}
	if err == nil {
		document["status"] = "checked"
		body, err = json.Marshal(document)
	}
	if err == nil {
		err = proxywasm.ReplaceHttpRequestBody(body)
	}
	if err != nil {
		_ = proxywasm.SendHttpResponse(400, nil, nil, -1)
		return types.ActionPause
	}
	return types.ActionContinue
}
