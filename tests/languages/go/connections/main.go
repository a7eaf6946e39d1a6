// A filter of connections: whole lines from the client go on reversed, answers come back marked, and `quit` ends it.
package main

import (
	"bytes"
	"slices"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

type plugin struct {
	types.DefaultPluginContext
}

func (p *plugin) NewTcpContext(uint32) types.TcpContext { return &connection{} }

type connection struct {
	types.DefaultTcpContext
}

func (c *connection) OnNewConnection() types.Action {
	proxywasm.LogInfo("connected")
	return types.ActionContinue
}

func (c *connection) OnDownstreamData(size int, endOfStream bool) types.Action {
	if size == 0 {
		return types.ActionContinue
	}
	data, err := proxywasm.GetDownstreamData(0, size)
	if err != nil {
		proxywasm.LogErrorf("no data: %v", err)
		return types.ActionContinue
	}
	line, whole := bytes.CutSuffix(data, []byte("\n"))
	if !whole && !endOfStream {
		return types.ActionPause
	}
	if string(line) == "quit" {
		if err := proxywasm.CloseDownstream(); err != nil {
			proxywasm.LogErrorf("not closed: %v", err)
		}
		return types.ActionPause
	}
	slices.Reverse(line)
	if err := proxywasm.ReplaceDownstreamData(append(line, '\n')); err != nil {
		proxywasm.LogErrorf("not replaced: %v", err)
	}
	return types.ActionContinue
}

func (c *connection) OnUpstreamData(size int, _ bool) types.Action {
	if size > 0 {
		if err := proxywasm.PrependUpstreamData([]byte("> ")); err != nil {
			proxywasm.LogErrorf("not marked: %v", err)
		}
	}
	return types.ActionContinue
}

func (c *connection) OnDownstreamClose(types.PeerType) { proxywasm.LogInfo("closed") }

func (c *connection) OnStreamDone() { proxywasm.LogInfo("done") }
