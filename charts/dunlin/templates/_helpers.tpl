{{- define "dunlin.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of all objects. With the longest suffix, "-cluster-tls-ca", it is to fit into 63 bytes. */}}
{{- define "dunlin.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "dunlin.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "dunlin.headless" -}}
{{- include "dunlin.fullname" . }}-headless
{{- end -}}

{{/* What names the pods of a release for ever: a StatefulSet's selector and volume claims cannot be changed. */}}
{{- define "dunlin.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dunlin.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dunlin.labels" -}}
{{ include "dunlin.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "dunlin.image" -}}
{{- $i := .Values.image -}}
{{- with $i.registry }}{{ . }}/{{ end -}}
{{- $i.repository -}}
{{- if $i.digest }}@{{ $i.digest }}{{ else }}:{{ default .Chart.AppVersion $i.tag }}{{ end -}}
{{- end -}}

{{- define "dunlin.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "dunlin.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "dunlin.gossipSecret" -}}
{{- default (printf "%s-gossip" (include "dunlin.fullname" .)) .Values.cluster.gossipKey.existingSecret -}}
{{- end -}}

{{- define "dunlin.clusterSecret" -}}
{{- default (printf "%s-cluster-tls" (include "dunlin.fullname" .)) .Values.cluster.tls.existingSecret -}}
{{- end -}}

{{/* The Secret with the certificate that clients are shown, "" for none. */}}
{{- define "dunlin.tlsSecret" -}}
{{- if .Values.tls.existingSecret -}}
{{- .Values.tls.existingSecret -}}
{{- else if .Values.tls.certManager.enabled -}}
{{- include "dunlin.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{/* Whether port 18083 speaks TLS. */}}
{{- define "dunlin.adminScheme" -}}
{{- ternary "HTTP" "HTTPS" (empty .Values.admin.tls.existingSecret) -}}
{{- end -}}

{{/* What config says; a key with nothing below it says nothing. */}}
{{- define "dunlin.settings" -}}
{{- $said := dict -}}
{{- range $key, $value := .Values.config -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $said $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $said -}}
{{- end -}}

{{/* Whether users of the cluster's own are let in. */}}
{{- define "dunlin.store" -}}
{{- $a := .Values.auth -}}
{{- $others := (include "dunlin.settings" . | fromYaml).auth -}}
{{- if or (eq (toString $a.store) "true") (and (eq (toString $a.store) "auto") (not (or $a.allowAnonymous $a.existingSecret $a.users $others))) -}}
true
{{- end -}}
{{- end -}}

{{/* The Secret with the users, "" for none. */}}
{{- define "dunlin.usersSecret" -}}
{{- if .Values.auth.existingSecret -}}
{{- .Values.auth.existingSecret -}}
{{- else if .Values.auth.users -}}
{{- include "dunlin.fullname" . }}-users
{{- end -}}
{{- end -}}

{{/* The ConfigMap with the rules of access, "" for none. */}}
{{- define "dunlin.rulesConfigMap" -}}
{{- if .Values.acl.existingConfigMap -}}
{{- .Values.acl.existingConfigMap -}}
{{- else if .Values.acl.rules -}}
{{- include "dunlin.fullname" . }}-acl
{{- end -}}
{{- end -}}

{{/* The name of a Service of this namespace. A dot at the end keeps resolvers from trying others first. */}}
{{- define "dunlin.host" -}}
{{- $relative := printf "%s.%s.svc" .service .root.Release.Namespace -}}
{{- with .root.Values.clusterDomain -}}
{{- printf "%s.%s." $relative (trimSuffix "." .) -}}
{{- else -}}
{{- $relative -}}
{{- end -}}
{{- end -}}

{{/* The listeners that are on, in the order in which a test would try them: name and port. */}}
{{- define "dunlin.listeners" -}}
{{- $on := list -}}
{{- range $l := list (dict "name" "mqtt" "port" 1883) (dict "name" "ws" "port" 8083) (dict "name" "mqtts" "port" 8883) (dict "name" "wss" "port" 8084) -}}
{{- if index $.Values.listeners $l.name -}}
{{- $on = append $on $l -}}
{{- end -}}
{{- end -}}
{{- toJson $on -}}
{{- end -}}

{{/* Dunlin's configuration, but for what depends on the pod, which is in its environment, and bootstrap-expect. */}}
{{- define "dunlin.config" -}}
{{- $own := dict
      "data-dir" "/data"
      "http-addr" ":18083"
      "cluster-id" (default (include "dunlin.fullname" .) .Values.cluster.id)
      "join" (list (printf "%s:7946" (include "dunlin.host" (dict "service" (include "dunlin.headless" .) "root" .))))
      "gossip-key-file" "/etc/dunlin/gossip/gossip.key"
      "cluster-tls-cert" "/etc/dunlin/cluster-tls/tls.crt"
      "cluster-tls-key" "/etc/dunlin/cluster-tls/tls.key"
      "cluster-tls-ca" "/etc/dunlin/cluster-tls/ca.crt"
      "shutdown-timeout" (printf "%ds" (int .Values.shutdownSeconds))
      "mqtt-addr" "" -}}
{{- range fromJsonArray (include "dunlin.listeners" .) -}}
{{- $_ := set $own (printf "%s-addr" .name) (printf ":%d" (int .port)) -}}
{{- end -}}
{{- if .Values.auth.allowAnonymous -}}
{{- $_ := set $own "allow-anonymous" true -}}
{{- end -}}
{{- if include "dunlin.tlsSecret" . -}}
{{- $tls := dict "cert" "/etc/dunlin/tls/tls.crt" "key" "/etc/dunlin/tls/tls.key" -}}
{{- if ne .Values.tls.clientAuth "none" -}}
{{- $tls = merge $tls (dict "client-auth" .Values.tls.clientAuth "client-ca" "/etc/dunlin/client-ca/ca.crt") -}}
{{- end -}}
{{- $_ := set $own "tls" $tls -}}
{{- end -}}
{{- /* Probes bear no token. */ -}}
{{- $http := dict "open" (ternary (list "health" "metrics") (list "health") .Values.admin.openMetrics) -}}
{{- if .Values.admin.tls.existingSecret -}}
{{- $http = merge $http (dict "tls-cert" "/etc/dunlin/admin-tls/tls.crt" "tls-key" "/etc/dunlin/admin-tls/tls.key") -}}
{{- end -}}
{{- if .Values.admin.tokensSecret -}}
{{- $_ := set $http "token-file" "/etc/dunlin/tokens/tokens" -}}
{{- end -}}
{{- $_ := set $own "http" $http -}}
{{- $auth := dict -}}
{{- if include "dunlin.store" . -}}
{{- $_ := set $auth "store" true -}}
{{- end -}}
{{- if include "dunlin.usersSecret" . -}}
{{- $_ := set $auth "users-file" "/etc/dunlin/users/users" -}}
{{- end -}}
{{- if $auth -}}
{{- $_ := set $own "auth" $auth -}}
{{- end -}}
{{- if include "dunlin.rulesConfigMap" . -}}
{{- $_ := set $own "acl" (dict "file" "/etc/dunlin/acl/rules.yaml") -}}
{{- end -}}
{{- toYaml (mergeOverwrite (include "dunlin.settings" . | fromYaml) $own) -}}
{{- end -}}

{{/* How much a quantity is: Kubernetes writes 8192Mi as 8Gi. */}}
{{- define "dunlin.bytes" -}}
{{- $unit := regexReplaceAll "^[0-9.]+" . "" -}}
{{- $of := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- mulf (regexFind "^[0-9.]+" . | float64) (default 1.0 (index $of $unit)) | toString -}}
{{- end -}}

{{/* Four fifths of the memory limit for Go's heap, in bytes, so that the collector works harder before the kernel kills. */}}
{{- define "dunlin.memoryLimit" -}}
{{- $limit := dig "limits" "memory" "" (default dict .Values.resources) | toString -}}
{{- if regexMatch "^[0-9]+[MG]i$" $limit -}}
{{- $unit := ternary 1048576 1073741824 (hasSuffix "Mi" $limit) -}}
{{- div (mul (regexFind "^[0-9]+" $limit | int64) $unit 4) 5 -}}
{{- end -}}
{{- end -}}

{{/* By which listener helm test goes, one whose clients need no certificate and no proxy: name and port. {} if there is none,
or nobody by whom it may come in. */}}
{{- define "dunlin.testListener" -}}
{{- $v := .Values -}}
{{- $proxied := default dict (index (include "dunlin.settings" . | fromYaml) "proxy-protocol") -}}
{{- $by := dict -}}
{{- if or $v.auth.allowAnonymous $v.tests.existingSecret -}}
{{- range fromJsonArray (include "dunlin.listeners" .) -}}
{{- $secured := has .name (list "mqtts" "wss") -}}
{{- if not (or $by (index $proxied .name) (and $secured (eq $v.tls.clientAuth "require"))) -}}
{{- $by = . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $by -}}
{{- end -}}

{{- define "dunlin.testLabels" -}}
app.kubernetes.io/name: {{ include "dunlin.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What the containers of a test have in common. */}}
{{- define "dunlin.testContainer" -}}
image: {{ include "dunlin.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.securityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  requests: {cpu: 10m, memory: 32Mi}
  limits: {memory: 64Mi}
{{- with .Values.tests.existingSecret }}
env:
  - name: TEST_USER
    valueFrom: {secretKeyRef: {name: {{ . }}, key: username}}
  - name: MQTT_PASSWORD
    valueFrom: {secretKeyRef: {name: {{ . }}, key: password}}
{{- end }}
{{- end -}}
