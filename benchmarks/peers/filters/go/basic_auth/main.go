// Basic authentication: who may send which methods to what is below a path.
package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

type credential struct{ user, password [sha256.Size]byte }

type plugin struct {
	types.DefaultPluginContext
	Rules []struct {
		Prefix      string   `json:"prefix"`
		Methods     []string `json:"request_methods"`
		Credentials []string `json:"credentials"`
		credentials []credential
	} `json:"basic_auth_rules"`
	UserHeader      string `json:"forward_username_header"`
	allowed, denied proxywasm.MetricCounter
	unprotected     proxywasm.MetricCounter
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	configuration, err := proxywasm.GetPluginConfiguration()
	if err == nil {
		err = json.Unmarshal(configuration, p)
	}
	for number := range p.Rules {
		rule := &p.Rules[number]
		for _, text := range rule.Credentials {
			user, password, found := strings.Cut(text, ":")
			if !found {
				err = errors.Join(err, errors.New("credentials: needs user:password"))
			}
			rule.credentials = append(rule.credentials, digests(user, password))
		}
	}
	if err != nil {
		proxywasm.LogErrorf("configuration: %v", err)
		return types.OnPluginStartStatusFailed
	}
	p.allowed = proxywasm.DefineCounterMetric("basic_auth_requests_allowed")
	p.denied = proxywasm.DefineCounterMetric("basic_auth_requests_denied")
	p.unprotected = proxywasm.DefineCounterMetric("basic_auth_requests_unprotected")
	return types.OnPluginStartStatusOK
}

func digests(user, password string) credential {
	return credential{sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))}
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

var errDenied = errors.New("denied")

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	user, err := s.plugin.judge()
	if err != nil {
		s.plugin.denied.Increment(1)
		headers := [][2]string{{"www-authenticate", `Basic realm="istio"`}}
		if err := proxywasm.SendHttpResponse(401, headers, nil, -1); err != nil {
			proxywasm.LogErrorf("no answer: %v", err)
		}
		return types.ActionPause
	}
	if _, err := proxywasm.GetHttpRequestHeader(s.plugin.UserHeader); err == nil {
		_ = proxywasm.RemoveHttpRequestHeader(s.plugin.UserHeader)
	}
	if user == "" {
		s.plugin.unprotected.Increment(1)
		return types.ActionContinue
	}
	_ = proxywasm.ReplaceHttpRequestHeader(s.plugin.UserHeader, user)
	s.plugin.allowed.Increment(1)
	return types.ActionContinue
}

// judge gives the user of a request that may pass, and no user where no rule is about the request.
func (p *plugin) judge() (string, error) {
	method, err := proxywasm.GetHttpRequestHeader(":method")
	if err != nil {
		return "", errDenied
	}
	target, err := proxywasm.GetHttpRequestHeader(":path")
	if err != nil {
		return "", errDenied
	}
	location, err := normalized(target)
	if err != nil {
		return "", errDenied
	}
	user := ""
	var sent credential
	for number := range p.Rules {
		rule := &p.Rules[number]
		if !contains(rule.Methods, method) || !strings.HasPrefix(location, rule.Prefix) {
			continue
		}
		if user == "" {
			if user, sent, err = authorization(); err != nil {
				return "", err
			}
		}
		if !accepted(rule.credentials, sent) {
			return "", errDenied
		}
	}
	return user, nil
}

func contains(methods []string, method string) bool {
	for _, each := range methods {
		if strings.EqualFold(each, method) {
			return true
		}
	}
	return false
}

// normalized is the path without its query, escapes, dot segments and repeated slashes.
func normalized(target string) (string, error) {
	location, _, _ := strings.Cut(target, "?")
	location, err := url.PathUnescape(location)
	if err != nil {
		return "", err
	}
	cleaned := path.Clean(strings.ReplaceAll(location, `\`, "/"))
	if strings.HasSuffix(location, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return cleaned, nil
}

// authorization gives the user and the digests of the credentials of the one header that may have them.
func authorization() (string, credential, error) {
	headers, err := proxywasm.GetHttpRequestHeaders()
	if err != nil {
		return "", credential{}, errDenied
	}
	value, found := "", 0
	for _, header := range headers {
		if strings.EqualFold(header[0], "authorization") {
			value = header[1]
			found++
		}
	}
	scheme, encoded, _ := strings.Cut(strings.TrimSpace(value), " ")
	if found != 1 || !strings.EqualFold(scheme, "basic") {
		return "", credential{}, errDenied
	}
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(encoded), "="))
	user, password, whole := strings.Cut(string(decoded), ":")
	if err != nil || !whole || user == "" {
		return "", credential{}, errDenied
	}
	return user, digests(user, password), nil
}

func accepted(credentials []credential, sent credential) bool {
	found := 0
	for _, each := range credentials {
		found |= subtle.ConstantTimeCompare(each.user[:], sent.user[:]) &
			subtle.ConstantTimeCompare(each.password[:], sent.password[:])
	}
	return found == 1
}
