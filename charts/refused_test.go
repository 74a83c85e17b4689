package charts

import (
	"io"
	"log"
	"os"
	"strings"
	"testing"
)

// Wrong values are refused before anything is changed, by an error that names them.
func TestWrongValuesAreRefused(t *testing.T) {
	for name, try := range map[string]struct {
		of     string // values of testdata, else minimal
		change string
		want   string
	}{
		"nobody asked":                  {of: "default", change: "auth.store=false", want: "who may connect"},
		"users twice":                   {of: "users", change: "auth.existingSecret=a", want: "auth.existingSecret and auth.users"},
		"rules twice":                   {of: "users", change: "acl.existingConfigMap=a", want: "acl.existingConfigMap and acl.rules"},
		"no listener":                   {change: "listeners.mqtt=false", want: "listeners: want at least one"},
		"TLS without certificate":       {change: "listeners.mqtts=true", want: "need a certificate"},
		"certificates twice":            {of: "users", change: "tls.certManager.enabled=true", want: "tls.existingSecret and tls.certManager.enabled"},
		"no issuer":                     {change: "tls.certManager.enabled=true", want: "issuerRef.name"},
		"client-auth without authority": {of: "users", change: "tls.clientAuth=require", want: "tls.clientCASecret"},
		"client-auth without TLS":       {change: "tls.clientAuth=request,tls.clientCASecret=a", want: "needs TLS"},
		"nodes' certificates twice":     {of: "certmanager", change: "cluster.tls.existingSecret=a", want: "cluster.tls.existingSecret and"},
		"short grace":                   {change: "terminationGracePeriodSeconds=99", want: "want at least 100"},
		"short grace without drain":     {change: "terminationGracePeriodSeconds=35,drain.enabled=false", want: "want at least 40"},
		"ingress without WebSocket":     {change: "ingress.enabled=true", want: "set listeners.ws"},
		"ingress without name":          {change: "ingress.enabled=true,listeners.ws=true", want: "ingress.hosts"},
		"route without gateway":         {change: "gateway.enabled=true", want: "gateway.parentRefs"},
		"one port for two":              {change: "listeners.ws=true,service.ports.ws=1883", want: "service.ports.ws 1883: mqtt has it"},
		"no name of a Service":          {change: "fullnameOverride=1st", want: `"1st" is no name for a Service`},
		"dots in a Service's name":      {change: "nameOverride=a.b", want: `"dunlin-a.b" is no name for a Service`},
		"the chart's own label":         {change: `commonLabels.app\.kubernetes\.io/name=x`, want: "commonLabels: app.kubernetes.io/name is set by the chart"},
		"the pods' own label":           {change: `podLabels.app\.kubernetes\.io/instance=x`, want: "podLabels: app.kubernetes.io/instance is set by the chart"},
		"the chart's own annotation":    {change: "podAnnotations.checksum/config=x", want: "podAnnotations: checksum/config is set by the chart"},
		"one node after the other":      {change: "podManagementPolicy=OrderedReady", want: "podManagementPolicy OrderedReady: 3 nodes form their cluster together"},
		"route without TCP":             {of: "bare", change: "gateway.enabled=true", want: "set listeners.mqtt"},
		"the chart's own setting":       {change: "config.join=a:1", want: "config.join: it is set by the chart"},
		"a value's setting":             {change: "config.allow-anonymous=true", want: "set by auth.allowAnonymous"},
		"a value's setting of a group":  {change: "config.auth.users-file=a", want: "set by auth.existingSecret or auth.users"},
		"a value's setting of HTTP":     {change: "config.http.open={metrics}", want: "config.http.open: it is set by admin.openMetrics"},
		"certificate of HTTP":           {change: "config.http.tls-cert=a", want: "set by admin.tls"},
		"with and without TLS":          {change: "admin.tls.existingSecret=a,config.http.plaintext=true", want: "want one of them"},
		"tokens without TLS":            {change: "admin.tokensSecret=a", want: "set admin.tls.existingSecret"},
		"metrics that nobody may read":  {change: "serviceMonitor.enabled=true,admin.openMetrics=false,admin.tls.existingSecret=a", want: "serviceMonitor.tokenSecret"},
		"a token for anybody":           {of: "everything", change: "serviceMonitor.tlsConfig=null", want: "say in serviceMonitor.tlsConfig"},
		"the chart's own environment":   {change: "extraEnv[0].name=DUNLIN_HTTP_ADDR,extraEnv[0].value=:1", want: "DUNLIN_HTTP_ADDR is set by the chart"},
		"a value's environment":         {change: "extraEnv[0].name=DUNLIN_HTTP__OPEN,extraEnv[0].value=metrics", want: "DUNLIN_HTTP__OPEN is set by admin.openMetrics"},
		"the configuration itself":      {change: "extraEnv[0].name=DUNLIN_CONFIG,extraEnv[0].value=/x", want: "DUNLIN_CONFIG is set by the chart"},

		// by the schema
		"unknown value":        {change: "replicas=5", want: "replicas"},
		"unknown value within": {change: "persistence.sise=5Gi", want: "sise"},
		"no rate":              {change: "drain.rate=0", want: "rate"},
		"no group of settings": {change: "config.http=on", want: "/config/http"},
		"unknown resources":    {change: "resources.limit.memory=1Gi", want: "limit"},
		"tag in repository":    {change: "image.repository=registry.example.org/dunlin:v3", want: "repository"},
		"no nodes":             {change: "replicaCount=0", want: "replicaCount"},
		"half a node":          {change: "replicaCount=3.5", want: "replicaCount"},
		"number as text":       {change: "replicaCount=three", want: "replicaCount"},
		"pull policy":          {change: "image.pullPolicy=Sometimes", want: "pullPolicy"},
		"digest":               {change: "image.digest=sha256:12", want: "digest"},
		"service type":         {change: "service.type=Loadbalancer", want: "type"},
		"port":                 {change: "service.ports.mqtt=70000", want: "mqtt"},
		"size":                 {change: "persistence.size=8 GB", want: "size"},
		"retention":            {change: "persistence.retain.whenScaled=Keep", want: "whenScaled"},
		"client-auth":          {change: "tls.clientAuth=yes", want: "clientAuth"},
		"store":                {change: "auth.store=maybe", want: "store"},
		"otherwise":            {change: "acl.otherwise=maybe", want: "otherwise"},
		"anti-affinity":        {change: "podAntiAffinity=strict", want: "podAntiAffinity"},
		"topic of the test":    {change: "tests.topic=a/#", want: "topic"},
		"cluster's id":         {change: "cluster.id=-x", want: "id"},
		"budget":               {change: "pdb.maxUnavailable=one", want: "maxUnavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			of := try.of
			if of == "" {
				of = "minimal"
			}
			_, err := rendering{}.text(t, valuesOf(t, of, try.change))
			if err == nil {
				t.Fatalf("%s is taken", try.change)
			}
			if !strings.Contains(err.Error(), try.want) {
				t.Errorf("%s: the error does not name %q:\n%v", try.change, try.want, err)
			}
		})
	}
}

// A key with nothing behind it, as is left when all below it is commented out, is nothing said where nothing needs to be, and
// otherwise an error that names it. So is a text in place of a section.
func TestNothingInPlaceOfAValue(t *testing.T) {
	log.SetOutput(io.Discard) // Helm tells of texts in place of sections, too
	defer log.SetOutput(os.Stderr)
	c := load(t)
	text := func(path, key string) {
		_, err := rendering{chart: c}.text(t, valuesOf(t, "minimal", path+"=text"))
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s=text: the error does not name it: %v", path, err)
		}
	}
	nothing := func(path, key, values string) {
		texts, err := rendering{chart: c}.text(t, valuesOf(t, values, path+"=null"))
		if err != nil {
			// These values may need it: then they are told so.
			if !strings.Contains(err.Error(), "missing property '"+key+"'") && !strings.Contains(err.Error(), "execution error at") {
				t.Errorf("%s: %s=null: the error does not name it: %v", values, path, err)
			}
			return
		}
		for file, text := range texts {
			for _, doc := range separator.Split(text, -1) {
				if !strings.HasSuffix(file, ".yaml") || !strings.Contains(doc, "kind:") {
					continue
				}
				if err := conforms("v"+latest, []byte(doc)); err != nil {
					t.Errorf("%s: %s=null: %s: %v", values, path, file, err)
				}
			}
		}
	}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		key := path[strings.LastIndex(path, ".")+1:]
		if path != "" {
			nothing(path, key, "minimal")
			if strings.HasPrefix(path, "tls") || strings.HasPrefix(path, "cluster") {
				nothing(path, key, "certmanager")
			}
		}
		section, _ := value.(map[string]any)
		if path != "" && len(section) > 0 {
			text(path, key)
		}
		if strings.HasSuffix(path, "ecurityContext") {
			return // is Kubernetes' own
		}
		for k, v := range section {
			walk(strings.TrimPrefix(path+"."+k, "."), v)
		}
	}
	walk("", c.Values)
}
