// Counts requests in shared data, whoever else does so too, and hands their paths on through a queue.
package main

import (
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

type plugin struct {
	types.DefaultPluginContext
	queue uint32
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	if _, err := proxywasm.ResolveSharedQueue("", "nobody's"); !errors.Is(err, types.ErrorStatusNotFound) {
		proxywasm.LogErrorf("a queue that nobody has: %v", err)
	}
	queue, err := proxywasm.RegisterSharedQueue("paths")
	if err != nil {
		proxywasm.LogErrorf("no queue: %v", err)
		return types.OnPluginStartStatusFailed
	}
	p.queue = queue
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnQueueReady(queue uint32) {
	path, err := proxywasm.DequeueSharedQueue(queue)
	if err == nil {
		_ = proxywasm.SetSharedData("last path", path, 0)
	}
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func countUp() (uint64, error) {
	for {
		value, cas, err := proxywasm.GetSharedData("count")
		if err != nil && !errors.Is(err, types.ErrorStatusNotFound) {
			return 0, err
		}
		var count uint64
		if len(value) == 8 {
			count = binary.LittleEndian.Uint64(value)
		}
		count++
		err = proxywasm.SetSharedData("count", binary.LittleEndian.AppendUint64(nil, count), cas)
		if err == nil || !errors.Is(err, types.ErrorStatusCasMismatch) {
			return count, err
		}
	}
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	count, err := countUp()
	if err != nil {
		proxywasm.LogErrorf("not counted: %v", err)
	}
	_ = proxywasm.AddHttpRequestHeader("x-count", strconv.FormatUint(count, 10))
	if last, _, err := proxywasm.GetSharedData("last path"); err == nil {
		_ = proxywasm.AddHttpRequestHeader("x-last-path", string(last))
	}
	path, _ := proxywasm.GetHttpRequestHeader(":path")
	if err := proxywasm.EnqueueSharedQueue(s.plugin.queue, []byte(path)); err != nil {
		proxywasm.LogErrorf("not told: %v", err)
	}
	return types.ActionContinue
}
