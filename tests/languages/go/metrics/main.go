// Keeps a counter, a gauge and a histogram, and lets ticks move the gauge.
package main

import (
	"fmt"
	"os"
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
	requests proxywasm.MetricCounter
	level    proxywasm.MetricGauge
	sizes    proxywasm.MetricHistogram
	ticks    int
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	p.requests = proxywasm.DefineCounterMetric("go_requests")
	p.level = proxywasm.DefineGaugeMetric("go_level")
	p.sizes = proxywasm.DefineHistogramMetric("go_sizes")
	if err := proxywasm.SetTickPeriodMilliSeconds(20); err != nil {
		return types.OnPluginStartStatusFailed
	}
	fmt.Println("printed in", os.Getenv("PLACE"))
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnTick() { p.ticks++ }

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	s.plugin.requests.Increment(2)
	s.plugin.level.Add(-3)
	s.plugin.sizes.Record(100)
	_ = proxywasm.AddHttpRequestHeader("x-requests", strconv.FormatUint(s.plugin.requests.Value(), 10))
	_ = proxywasm.AddHttpRequestHeader("x-ticked", strconv.FormatBool(s.plugin.ticks > 0))
	return types.ActionContinue
}

func (s *stream) OnHttpStreamDone() { s.plugin.level.Add(5) }
