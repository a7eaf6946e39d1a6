// Marks requests and responses, lists a request's headers, and denies requests that ask for it.
package main

import (
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

type plugin struct {
	types.DefaultPluginContext
	mark string
}

func (p *plugin) OnPluginStart(size int) types.OnPluginStartStatus {
	configuration, err := proxywasm.GetPluginConfiguration()
	if err != nil && err != types.ErrorStatusNotFound {
		proxywasm.LogErrorf("no configuration: %v", err)
		return types.OnPluginStartStatusFailed
	}
	p.mark = strings.TrimSpace(string(configuration))
	if p.mark == "" {
		proxywasm.LogError("a mark is needed")
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
	path   string
}

func (s *stream) OnHttpRequestHeaders(count int, endOfStream bool) types.Action {
	s.path, _ = proxywasm.GetHttpRequestHeader(":path")
	if reason, err := proxywasm.GetHttpRequestHeader("x-deny"); err == nil {
		headers := [][2]string{{"x-reason", reason}, {"content-type", "text/x-no"}}
		if err := proxywasm.SendHttpResponse(403, headers, []byte("no\n"), -1); err != nil {
			proxywasm.LogCriticalf("no response: %v", err)
		}
		return types.ActionPause
	}
	headers, err := proxywasm.GetHttpRequestHeaders()
	if err != nil {
		proxywasm.LogCriticalf("no headers: %v", err)
		return types.ActionContinue
	}
	listed := []string{}
	for _, header := range headers {
		if strings.HasPrefix(header[0], "x-") && header[0] != "x-forwarded-proto" {
			listed = append(listed, header[0]+"="+header[1])
		}
	}
	proxywasm.LogInfo(strings.Join(listed, " "))
	_ = proxywasm.RemoveHttpRequestHeader("x-secret")
	_ = proxywasm.ReplaceHttpRequestHeader("x-version", "2")
	_ = proxywasm.AddHttpRequestHeader("x-mark", s.plugin.mark)
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(int, bool) types.Action {
	headers, err := proxywasm.GetHttpResponseHeaders()
	if err != nil {
		proxywasm.LogCriticalf("no headers: %v", err)
		return types.ActionContinue
	}
	if err := proxywasm.ReplaceHttpResponseHeaders(append(headers, [2]string{"x-path", s.path})); err != nil {
		proxywasm.LogCriticalf("headers not replaced: %v", err)
	}
	return types.ActionContinue
}

func (s *stream) OnHttpStreamDone() { proxywasm.LogInfo("done " + s.path) }
