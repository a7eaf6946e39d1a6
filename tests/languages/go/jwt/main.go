// Lets requests pass whose bearer token is signed by a key of the configuration, and tells the upstream the token's subject.
package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
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
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"`
	Keys     []struct {
		Kid string `json:"kid"`
		N   string `json:"n"`
		E   string `json:"e"`
	} `json:"keys"`
	keys map[string]*rsa.PublicKey
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	configuration, err := proxywasm.GetPluginConfiguration()
	if err == nil {
		err = json.Unmarshal(configuration, p)
	}
	p.keys = make(map[string]*rsa.PublicKey)
	for _, key := range p.Keys {
		n, badN := base64.RawURLEncoding.DecodeString(key.N)
		e, badE := base64.RawURLEncoding.DecodeString(key.E)
		err = errors.Join(err, badN, badE)
		p.keys[key.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	if err != nil {
		proxywasm.LogErrorf("configuration: %v", err)
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	_ = proxywasm.RemoveHttpRequestHeader("x-jwt-sub")
	authorization, _ := proxywasm.GetHttpRequestHeader("authorization")
	token, found := strings.CutPrefix(authorization, "Bearer ")
	subject, err := s.plugin.verify(token)
	if !found || err != nil {
		_ = proxywasm.SendHttpResponse(401, nil, nil, -1)
		return types.ActionPause
	}
	_ = proxywasm.RemoveHttpRequestHeader("authorization")
	_ = proxywasm.AddHttpRequestHeader("x-jwt-sub", subject)
	return types.ActionContinue
}

var errRefused = errors.New("refused")

// verify gives the subject of a token that is signed with RS256, meant for the audience and not expired.
func (p *plugin) verify(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errRefused
	}
	var header struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}
	var claims struct {
		Iss string `json:"iss"`
		Sub string `json:"sub"`
		Aud string `json:"aud"`
		Exp int64  `json:"exp"`
	}
	if err := errors.Join(decode(parts[0], &header), decode(parts[1], &claims)); err != nil {
		return "", err
	}
	key := p.keys[header.Kid]
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if key == nil || header.Alg != "RS256" || err != nil {
		return "", errRefused
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature); err != nil {
		return "", err
	}
	if claims.Iss != p.Issuer || claims.Aud != p.Audience || claims.Exp <= time.Now().Unix() {
		return "", errRefused
	}
	return claims.Sub, nil
}

func decode(segment string, into any) error {
	data, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
