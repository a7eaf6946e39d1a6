// Gathers request bodies and passes them on sorted; counts the bytes of responses, and tells of them in a trailer.
package main

import (
	"bytes"
	"sort"
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
	requestSize  int
	responseSize int
}

func (s *stream) OnHttpRequestHeaders(_ int, endOfStream bool) types.Action {
	if !endOfStream {
		_ = proxywasm.RemoveHttpRequestHeader("content-length")
	}
	return types.ActionContinue
}

func (s *stream) OnHttpRequestBody(size int, endOfStream bool) types.Action {
	s.requestSize += size
	if !endOfStream {
		return types.ActionPause
	}
	body, err := proxywasm.GetHttpRequestBody(0, s.requestSize)
	if err != nil {
		proxywasm.LogErrorf("no body: %v", err)
		return types.ActionContinue
	}
	lines := bytes.Split(bytes.TrimSpace(body), []byte("\n"))
	sort.Slice(lines, func(i, j int) bool { return bytes.Compare(lines[i], lines[j]) < 0 })
	if err := proxywasm.ReplaceHttpRequestBody(append(bytes.Join(lines, []byte("\n")), '\n')); err != nil {
		proxywasm.LogErrorf("body not replaced: %v", err)
	}
	if err := proxywasm.PrependHttpRequestBody([]byte("sorted:\n")); err != nil {
		proxywasm.LogErrorf("nothing put before the body: %v", err)
	}
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(int, bool) types.Action {
	_ = proxywasm.RemoveHttpResponseHeader("content-length")
	return types.ActionContinue
}

func (s *stream) OnHttpResponseBody(size int, endOfStream bool) types.Action {
	s.responseSize += size
	if endOfStream {
		if err := proxywasm.AppendHttpResponseBody([]byte(" (" + strconv.Itoa(s.responseSize) + ")")); err != nil {
			proxywasm.LogErrorf("nothing put after the body: %v", err)
		}
	}
	return types.ActionContinue
}
