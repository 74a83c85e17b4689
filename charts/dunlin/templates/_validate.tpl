{{/* What the schema cannot say. Each refusal names the value and what to do. */}}
{{- define "dunlin.validate" -}}
{{- $v := .Values -}}
{{- $config := include "dunlin.settings" . | fromYaml -}}
{{- $full := include "dunlin.fullname" . -}}

{{- /* All objects are called so, and Services may be called less than the others. */ -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "%q is no name for a Service: want a to z, 0 to 9 and -, a letter first and no - at the end. It is made of the release's name and nameOverride: choose another, or set fullnameOverride" $full) -}}
{{- end -}}
{{- range $what := list "commonLabels" "podLabels" "podAnnotations" -}}
{{- range $key, $_ := index $v $what -}}
{{- if has $key (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "app.kubernetes.io/component" "helm.sh/chart" "checksum/config") -}}
{{- fail (printf "%s: %s is set by the chart" $what $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The first node would have to be ready before there is a second, and is not without a majority. */ -}}
{{- if and (ne $v.podManagementPolicy "Parallel") (gt (int $v.replicaCount) 1) -}}
{{- fail (printf "podManagementPolicy %s: %d nodes form their cluster together, want Parallel" $v.podManagementPolicy (int $v.replicaCount)) -}}
{{- end -}}

{{- if not (or (include "dunlin.store" .) $v.auth.allowAnonymous $v.auth.existingSecret $v.auth.users $config.auth) -}}
{{- fail "auth.store false: then who may connect? Set auth.existingSecret or auth.users to say who, or auth.allowAnonymous=true to let everybody in that reaches the Service" -}}
{{- end -}}
{{- if and $v.auth.existingSecret $v.auth.users -}}
{{- fail "auth.existingSecret and auth.users: want one of them" -}}
{{- end -}}
{{- if and $v.acl.existingConfigMap $v.acl.rules -}}
{{- fail "acl.existingConfigMap and acl.rules: want one of them" -}}
{{- end -}}

{{- if not (or $v.listeners.mqtt $v.listeners.mqtts $v.listeners.ws $v.listeners.wss) -}}
{{- fail "listeners: want at least one" -}}
{{- end -}}
{{- $taken := dict -}}
{{- range $l := fromJsonArray (include "dunlin.listeners" .) -}}
{{- $port := toString (int (index $v.service.ports $l.name)) -}}
{{- with index $taken $port -}}
{{- fail (printf "service.ports.%s %s: %s has it" $l.name $port .) -}}
{{- end -}}
{{- $_ := set $taken $port $l.name -}}
{{- end -}}
{{- if and (or $v.listeners.mqtts $v.listeners.wss) (not (include "dunlin.tlsSecret" .)) -}}
{{- fail "listeners.mqtts and listeners.wss need a certificate: set tls.existingSecret or tls.certManager.enabled" -}}
{{- end -}}
{{- if and $v.tls.existingSecret $v.tls.certManager.enabled -}}
{{- fail "tls.existingSecret and tls.certManager.enabled: want one of them" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not (default dict $v.tls.certManager.issuerRef).name) -}}
{{- fail "tls.certManager.issuerRef.name: want the issuer of the clients' side" -}}
{{- end -}}
{{- if and (ne $v.tls.clientAuth "none") (not $v.tls.clientCASecret) -}}
{{- fail (printf "tls.clientAuth %q needs tls.clientCASecret, the authorities that sign clients' certificates" $v.tls.clientAuth) -}}
{{- end -}}
{{- if and (ne $v.tls.clientAuth "none") (not (include "dunlin.tlsSecret" .)) -}}
{{- fail (printf "tls.clientAuth %q needs TLS: set tls.existingSecret or tls.certManager.enabled" $v.tls.clientAuth) -}}
{{- end -}}
{{- if and $v.cluster.tls.existingSecret $v.cluster.tls.certManager.enabled -}}
{{- fail "cluster.tls.existingSecret and cluster.tls.certManager.enabled: want one of them" -}}
{{- end -}}

{{- $tokens := or $v.admin.tls.existingSecret (dig "http" "plaintext" false $config) -}}
{{- if and $v.admin.tls.existingSecret (dig "http" "plaintext" false $config) -}}
{{- fail "admin.tls.existingSecret and config.http.plaintext: want one of them" -}}
{{- end -}}
{{- if and $v.admin.tokensSecret (not $tokens) -}}
{{- fail "admin.tokensSecret: tokens are taken with TLS only: set admin.tls.existingSecret" -}}
{{- end -}}
{{- if and $v.serviceMonitor.enabled (not $v.admin.openMetrics) (not (and $tokens $v.serviceMonitor.tokenSecret)) -}}
{{- fail "serviceMonitor.enabled: it may not read metrics without a token: set admin.openMetrics, or admin.tls.existingSecret and serviceMonitor.tokenSecret" -}}
{{- end -}}
{{- if and $v.admin.tls.existingSecret $v.serviceMonitor.tokenSecret (not $v.serviceMonitor.tlsConfig) -}}
{{- fail "serviceMonitor.tokenSecret: say in serviceMonitor.tlsConfig how the certificate is checked, or anybody may be given the token" -}}
{{- end -}}

{{- /* Settings with their owners. What extraEnv says would come before what the chart says. */ -}}
{{- $owner := dict
      "config" "the chart" "node-name" "the pod's name" "data-dir" "the chart" "http-addr" "the chart"
      "mqtt-addr" "listeners.mqtt" "mqtts-addr" "listeners.mqtts" "ws-addr" "listeners.ws" "wss-addr" "listeners.wss"
      "allow-anonymous" "auth.allowAnonymous" "cluster-id" "cluster.id" "join" "the chart" "bootstrap-expect" "replicaCount"
      "gossip-addr" "the chart" "gossip-advertise-addr" "the chart" "cluster-addr" "the chart" "cluster-advertise-addr" "the chart"
      "gossip-key" "cluster.gossipKey" "gossip-key-file" "cluster.gossipKey" "cluster-tls-cert" "cluster.tls" "cluster-tls-key" "cluster.tls" "cluster-tls-ca" "cluster.tls"
      "shutdown-timeout" "shutdownSeconds"
      "tls.cert" "tls" "tls.key" "tls" "tls.client-ca" "tls.clientCASecret" "tls.client-auth" "tls.clientAuth"
      "http.tls-cert" "admin.tls" "http.tls-key" "admin.tls" "http.token-file" "admin.tokensSecret" "http.open" "admin.openMetrics"
      "auth.store" "auth.store" "auth.users-file" "auth.existingSecret or auth.users" "acl.file" "acl" -}}
{{- range $key, $value := $config -}}
{{- with index $owner $key -}}
{{- fail (printf "config.%s: it is set by %s" $key .) -}}
{{- end -}}
{{- if kindIs "map" $value -}}
{{- range $below, $_ := $value -}}
{{- with index $owner (printf "%s.%s" $key $below) -}}
{{- fail (printf "config.%s.%s: it is set by %s" $key $below .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $env := $v.extraEnv -}}
{{- if hasPrefix "DUNLIN_" (toString $env.name) -}}
{{- with index $owner ($env.name | trimPrefix "DUNLIN_" | lower | replace "__" "." | replace "_" "-") -}}
{{- fail (printf "extraEnv: %s is set by %s" $env.name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $need := add (int $v.preStopSeconds) (ternary (int $v.drain.timeoutSeconds) 0 $v.drain.enabled) (int $v.shutdownSeconds) 5 -}}
{{- if lt (int $v.terminationGracePeriodSeconds) (int $need) -}}
{{- fail (printf "terminationGracePeriodSeconds %d: want at least %d, that is preStopSeconds, drain.timeoutSeconds if drain.enabled, shutdownSeconds and five, or nodes are killed before they have handed over" (int $v.terminationGracePeriodSeconds) $need) -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.listeners.ws) -}}
{{- fail "ingress.enabled: an Ingress leads to WebSockets, set listeners.ws" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "ingress.enabled: say in ingress.hosts for which names" -}}
{{- end -}}
{{- if and $v.gateway.enabled (not $v.listeners.mqtt) -}}
{{- fail "gateway.enabled: a TCPRoute leads to MQTT over TCP, set listeners.mqtt" -}}
{{- end -}}
{{- if and $v.gateway.enabled (not $v.gateway.parentRefs) -}}
{{- fail "gateway.enabled: say in gateway.parentRefs to which Gateway the route belongs" -}}
{{- end -}}

{{- /* Under another name the nodes would be new ones with empty volumes, and those that there are would go. */ -}}
{{- range (lookup "apps/v1" "StatefulSet" .Release.Namespace "").items -}}
{{- $ours := eq (dig "annotations" "meta.helm.sh/release-name" "" .metadata) $.Release.Name -}}
{{- $chart := dig "labels" "helm.sh/chart" "" .metadata -}}
{{- if and $ours (regexMatch (printf "^%s-[0-9]+[.]" $.Chart.Name) $chart) (ne .metadata.name $full) -}}
{{- fail (printf "%q: the nodes of this release are %s-0 and so on, and cannot be renamed: set fullnameOverride=%s" $full .metadata.name .metadata.name) -}}
{{- end -}}
{{- end -}}

{{- $to := int $v.allowScaleInTo -}}
{{- if and $to (ne $to (int $v.replicaCount)) -}}
{{- fail (printf "allowScaleInTo %d: it says that replicaCount may be lowered to %d, which is %d: set it to 0" $to $to (int $v.replicaCount)) -}}
{{- end -}}
{{- with lookup "apps/v1" "StatefulSet" .Release.Namespace $full -}}
{{- $there := int .spec.replicas -}}
{{- $want := int $v.replicaCount -}}
{{- if and (lt $want $there) (not $to) -}}
{{- fail (printf "\n\nreplicaCount %d: there are %d nodes, and those that go hold replicas. Empty them first, the highest number first:\n\n    kubectl -n %s exec %s-0 -- dunlin cluster remove %s-%d --wait\n\nand when all have left, say so with allowScaleInTo=%d.\n" $want $there $.Release.Namespace $full $full (sub $there 1) $want) -}}
{{- end -}}

{{- /* Of what a StatefulSet cannot change Kubernetes names nothing, and only when all else has been changed. */ -}}
{{- $name := index .spec.selector.matchLabels "app.kubernetes.io/name" -}}
{{- if ne $name (include "dunlin.name" $) -}}
{{- fail (printf "nameOverride: the pods of this release are labelled %s for ever: set nameOverride=%s" $name $name) -}}
{{- end -}}
{{- $was := list -}}
{{- if ne .spec.podManagementPolicy $v.podManagementPolicy -}}
{{- $was = append $was (printf "podManagementPolicy %s, was %s" $v.podManagementPolicy .spec.podManagementPolicy) -}}
{{- end -}}
{{- $claims := default list .spec.volumeClaimTemplates -}}
{{- if ne (empty $claims) (not $v.persistence.enabled) -}}
{{- fail (printf "persistence.enabled %t: nodes keep what they have where it is. Back up, and restore into another release" $v.persistence.enabled) -}}
{{- end -}}
{{- range $claims -}}
{{- $p := $v.persistence -}}
{{- if ne (include "dunlin.bytes" .spec.resources.requests.storage) (include "dunlin.bytes" $p.size) -}}
{{- $was = append $was (printf "persistence.size %s, was %s" $p.size .spec.resources.requests.storage) -}}
{{- end -}}
{{- if ne (default "" .spec.storageClassName) (default "" $p.storageClass) -}}
{{- $was = append $was (printf "persistence.storageClass %q, was %q" (default "" $p.storageClass) (default "" .spec.storageClassName)) -}}
{{- end -}}
{{- if ne (toJson .spec.accessModes) (toJson $p.accessModes) -}}
{{- $was = append $was (printf "persistence.accessModes %s, was %s" (toJson $p.accessModes) (toJson .spec.accessModes)) -}}
{{- end -}}
{{- if ne (toJson (default dict .metadata.annotations)) (toJson (default dict $p.annotations)) -}}
{{- $was = append $was (printf "persistence.annotations %s, was %s" (toJson (default dict $p.annotations)) (toJson (default dict .metadata.annotations))) -}}
{{- end -}}
{{- end -}}
{{- if $was -}}
{{- fail (printf "\n\n%s: a StatefulSet cannot be changed in that. Replace it, while its pods run on, and upgrade again:\n\n    kubectl -n %s delete statefulset %s --cascade=orphan\n\nThe volumes that there are stay as they are; what is said here is for those to come.\n" (join "; " $was) $.Release.Namespace $full) -}}
{{- end -}}

{{- $settings := dig "data" "dunlin.yaml" "" (lookup "v1" "ConfigMap" $.Release.Namespace $full) | fromYaml -}}
{{- $id := default $full $v.cluster.id -}}
{{- with index $settings "cluster-id" -}}
{{- if ne . $id -}}
{{- fail (printf "cluster.id %s: this cluster is %s, and nodes of another never meet those that are left: set cluster.id=%s" $id . .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
