// Lets requests pass whose `x-token` is signed; keeps what it found in properties, and calls what only Envoy has.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

type plugin struct {
	types.DefaultPluginContext
	Key string `json:"key"`
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	configuration, err := proxywasm.GetPluginConfiguration()
	if err == nil {
		err = json.Unmarshal(configuration, p)
	}
	if err != nil {
		proxywasm.LogErrorf("configuration: %v", err)
		return types.OnPluginStartStatusFailed
	}
	if time.Now().Year() < 2024 || rand.Uint64() == rand.Uint64() {
		proxywasm.LogError("neither time nor chance")
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	token, _ := proxywasm.GetHttpRequestHeader("x-token")
	user, signature, _ := strings.Cut(token, ".")
	mac := hmac.New(sha256.New, []byte(s.plugin.Key))
	mac.Write([]byte(user))
	given, err := hex.DecodeString(signature)
	if err != nil || !hmac.Equal(given, mac.Sum(nil)) {
		_ = proxywasm.SendHttpResponse(401, nil, nil, -1)
		return types.ActionPause
	}
	if err := proxywasm.SetProperty([]string{"user"}, []byte(user)); err != nil {
		proxywasm.LogErrorf("property not set: %v", err)
	}
	_ = proxywasm.AddHttpRequestHeader("x-user", user)
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(int, bool) types.Action {
	if user, err := proxywasm.GetProperty([]string{"user"}); err == nil {
		_ = proxywasm.AddHttpResponseHeader("x-user", string(user))
	}
	if root, err := proxywasm.GetProperty([]string{"plugin_root_id"}); err == nil {
		_ = proxywasm.AddHttpResponseHeader("x-root-id", string(root))
	}
	packed, err := proxywasm.CallForeignFunction("compress", []byte(strings.Repeat("a", 1000)))
	if err != nil || len(packed) == 0 || len(packed) > 100 {
		proxywasm.LogErrorf("not compressed: %v", err)
	}
	if _, err := proxywasm.CallForeignFunction("no such function", nil); err != types.ErrorStatusNotFound {
		proxywasm.LogErrorf("a function that is not there: %v", err)
	}
	return types.ActionContinue
}
