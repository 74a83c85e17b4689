package charts

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// each runs f for all values of testdata.
func each(t *testing.T, f func(t *testing.T, all objects)) {
	t.Helper()
	for _, name := range files(t) {
		t.Run(name, func(t *testing.T) { f(t, rendering{}.must(t, valuesOf(t, name))) })
	}
}

// pods are the pods' specifications among the objects.
func pods(all objects) map[string]*corev1.PodTemplateSpec {
	out := make(map[string]*corev1.PodTemplateSpec)
	for key, o := range all {
		switch v := o.typed.(type) {
		case *appsv1.StatefulSet:
			out[key] = &v.Spec.Template
		case *corev1.Pod:
			out[key] = &corev1.PodTemplateSpec{ObjectMeta: v.ObjectMeta, Spec: v.Spec}
		}
	}
	return out
}

func TestPodsAreAdmittedToARestrictedNamespace(t *testing.T) {
	judge, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, all objects) {
		for key, p := range pods(all) {
			for _, r := range judge.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}, &p.ObjectMeta, &p.Spec) {
				if !r.Allowed {
					t.Errorf("%s: %s: %s", key, r.ForbiddenReason, r.ForbiddenDetail)
				}
			}
			if a := p.Spec.AutomountServiceAccountToken; a == nil || *a {
				t.Errorf("%s: a pod that asks Kubernetes nothing has a token for it", key)
			}
			for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
				if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
					t.Errorf("%s: %s can write to its root", key, c.Name)
				}
			}
		}
	})
}

// Whatever names something else names what is there: labels, ports, volumes, objects.
func TestReferencesLeadSomewhere(t *testing.T) {
	each(t, func(t *testing.T, all objects) {
		set := statefulSet(t, all)
		template := set.Spec.Template
		selects := func(what string, selector labels.Selector, l map[string]string) {
			if selector.Empty() || !selector.Matches(labels.Set(l)) {
				t.Errorf("%s selects %s, the pods have %v", what, selector, l)
			}
		}
		ports := make(map[string]corev1.ContainerPort)
		for _, p := range template.Spec.Containers[0].Ports {
			if errs := validation.IsValidPortName(p.Name); len(errs) > 0 {
				t.Errorf("port %q: %v", p.Name, errs)
			}
			ports[p.Name] = p
		}
		for _, probe := range []*corev1.Probe{template.Spec.Containers[0].StartupProbe, template.Spec.Containers[0].LivenessProbe, template.Spec.Containers[0].ReadinessProbe} {
			if probe == nil || ports[probe.HTTPGet.Port.StrVal].ContainerPort != 18083 {
				t.Errorf("probe %+v", probe)
			} else if was := template.Spec.Containers[0].StartupProbe; probe.HTTPGet.Scheme != was.HTTPGet.Scheme {
				t.Errorf("probes speak %s and %s", probe.HTTPGet.Scheme, was.HTTPGet.Scheme)
			}
		}
		selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
		if err != nil {
			t.Fatal(err)
		}
		selects("StatefulSet", selector, template.Labels)
		if all["Service/"+set.Spec.ServiceName] == nil {
			t.Errorf("the StatefulSet's Service %s is not there", set.Spec.ServiceName)
		}
		for key, o := range all {
			if errs := validation.IsDNS1123Label(o.name); len(errs) > 0 {
				t.Errorf("%s: %v", key, errs)
			}
			for name, value := range at(o.tree, "metadata", "labels").(map[string]any) {
				if errs := validation.IsValidLabelValue(fmt.Sprint(value)); len(errs) > 0 {
					t.Errorf("%s: label %s: %v", key, name, errs)
				}
			}
			switch v := o.typed.(type) {
			case *corev1.Service:
				selects(key, labels.SelectorFromSet(v.Spec.Selector), template.Labels)
				for _, p := range v.Spec.Ports {
					if target, ok := ports[p.TargetPort.StrVal]; !ok || target.Protocol != p.Protocol {
						t.Errorf("%s: port %s leads to %s", key, p.Name, p.TargetPort.String())
					}
				}
				if headless := v.Spec.ClusterIP == corev1.ClusterIPNone; headless != v.Spec.PublishNotReadyAddresses {
					t.Errorf("%s: headless %v, and publishes what is not ready %v: nodes find each other on their way in, clients only those that serve", key, headless, v.Spec.PublishNotReadyAddresses)
				}
			case *policyv1.PodDisruptionBudget:
				s, err := metav1.LabelSelectorAsSelector(v.Spec.Selector)
				if err != nil {
					t.Fatal(err)
				}
				selects(key, s, template.Labels)
			case *networkingv1.NetworkPolicy:
				s, err := metav1.LabelSelectorAsSelector(&v.Spec.PodSelector)
				if err != nil {
					t.Fatal(err)
				}
				selects(key, s, template.Labels)
				open := make(map[string]bool)
				tested := all["Pod/"+v.Name+"-test"] == nil
				for _, in := range v.Spec.Ingress {
					if len(in.Ports) == 0 {
						t.Errorf("%s: a rule is of all ports", key)
					}
					if p := in.Ports[0].Port.StrVal; p == "mqtt" || p == "mqtts" || p == "ws" {
						tested = tested || len(in.From) == 0 || slices.ContainsFunc(in.From, func(p networkingv1.NetworkPolicyPeer) bool {
							s, err := metav1.LabelSelectorAsSelector(p.PodSelector)
							return err == nil && p.NamespaceSelector == nil && s.Matches(labels.Set(get[*corev1.Pod](t, all, "Pod/"+v.Name+"-test").Labels))
						})
					}
					for _, p := range in.Ports {
						open[p.Port.StrVal] = true
					}
				}
				if !tested {
					t.Errorf("%s lets helm test not in", key)
				}
				for name := range ports {
					if !open[name] {
						t.Errorf("the policy lets nobody in at %s", name)
					}
				}
			case *networkingv1.Ingress:
				for _, r := range v.Spec.Rules {
					b := r.HTTP.Paths[0].Backend.Service
					if !hasPort(get[*corev1.Service](t, all, "Service/"+b.Name), b.Port.Name) {
						t.Errorf("%s leads to %s, %s", key, b.Name, b.Port.Name)
					}
				}
			}
		}
		for key, p := range pods(all) {
			volumes := make(map[string]bool)
			need := func(kind, name string) {
				if !strings.HasPrefix(name, "given-") && all[kind+"/"+name] == nil && all["Certificate/"+name] == nil {
					t.Errorf("%s needs %s %s, which is not there", key, kind, name)
				}
			}
			for _, v := range p.Spec.Volumes {
				volumes[v.Name] = true
				switch {
				case v.Secret != nil:
					need("Secret", v.Secret.SecretName)
				case v.ConfigMap != nil:
					need("ConfigMap", v.ConfigMap.Name)
				}
			}
			for _, c := range set.Spec.VolumeClaimTemplates {
				volumes[c.Name] = true
			}
			for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
				for _, m := range c.VolumeMounts {
					if !volumes[m.Name] {
						t.Errorf("%s mounts %s, which is no volume", key, m.Name)
					}
				}
				for _, e := range c.Env {
					if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
						need("Secret", e.ValueFrom.SecretKeyRef.Name)
					}
				}
			}
		}
	})
}

func hasPort(s *corev1.Service, name string) bool {
	return slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == name })
}

func TestTheMinimum(t *testing.T) {
	all := rendering{}.must(t, valuesOf(t, "minimal"))
	set := statefulSet(t, all)
	c := set.Spec.Template.Spec.Containers[0]
	if *set.Spec.Replicas != 3 || set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
		t.Errorf("%d replicas, %s", *set.Spec.Replicas, set.Spec.PodManagementPolicy)
	}
	if r := set.Spec.PersistentVolumeClaimRetentionPolicy; r == nil || r.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType || r.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
		t.Errorf("volumes: %+v, want them kept", r)
	}
	if len(set.Spec.VolumeClaimTemplates) != 1 {
		t.Error("nothing is kept")
	}
	if c.LivenessProbe.HTTPGet.Path != "/health/live" || c.ReadinessProbe.HTTPGet.Path != "/health/ready" {
		t.Errorf("probes ask %s, %s", c.LivenessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path)
	}
	if got := *set.Spec.Template.Spec.TerminationGracePeriodSeconds; got != 120 {
		t.Errorf("grace %d", got)
	}
	for _, e := range c.Env {
		if e.Name == "GOMEMLIMIT" && e.Value != "858993459" {
			t.Errorf("GOMEMLIMIT %s, want four fifths of 1 GiB", e.Value)
		}
	}
	affinity := set.Spec.Template.Spec.Affinity.PodAntiAffinity
	if len(affinity.PreferredDuringSchedulingIgnoredDuringExecution) != 1 || len(affinity.RequiredDuringSchedulingIgnoredDuringExecution) != 0 {
		t.Errorf("anti-affinity %+v", affinity)
	}
	spread := set.Spec.Template.Spec.TopologySpreadConstraints
	if len(spread) != 1 || spread[0].LabelSelector == nil {
		t.Errorf("spread %+v", spread)
	}
	if b := get[*policyv1.PodDisruptionBudget](t, all, "PodDisruptionBudget/dunlin"); *b.Spec.MaxUnavailable != intstr.FromInt32(1) {
		t.Errorf("of three nodes %s may be missing at a time", b.Spec.MaxUnavailable.String())
	}
	if s := get[*corev1.Service](t, all, "Service/dunlin"); s.Spec.Type != corev1.ServiceTypeClusterIP || len(s.Spec.Ports) != 1 || s.Spec.Ports[0].Port != 1883 {
		t.Errorf("service %+v", s.Spec)
	}
	if got := set.Spec.Template.Spec.Containers[0].Image; got != "dunlin:"+load(t).Metadata.AppVersion {
		t.Errorf("image %s", got)
	}
	if at(all["Pod/dunlin-test"].tree, "metadata", "annotations", "helm.sh/hook") != "test" {
		t.Error("helm test runs nothing")
	}
}

func TestEverything(t *testing.T) {
	all := rendering{}.must(t, valuesOf(t, "everything"))
	var kinds []string
	for key := range all {
		kinds = append(kinds, key)
	}
	slices.Sort(kinds)
	want := []string{
		"ConfigMap/plant-seven", "ConfigMap/plant-seven-dashboard", "Ingress/plant-seven", "NetworkPolicy/plant-seven",
		"Pod/plant-seven-test", "PodDisruptionBudget/plant-seven", "PrometheusRule/plant-seven", "Service/plant-seven",
		"Service/plant-seven-headless", "ServiceAccount/plant-seven", "ServiceMonitor/plant-seven", "StatefulSet/plant-seven",
		"TCPRoute/plant-seven",
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("there are %v,\nwant %v", kinds, want)
	}
	set := statefulSet(t, all)
	spec := set.Spec.Template.Spec
	if got := spec.Containers[0].Image; got != "registry.example.org/infra/dunlin:v9" {
		t.Errorf("image %s", got)
	}
	if len(spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) != 1 {
		t.Error("anti-affinity is not hard")
	}
	if s := spec.TopologySpreadConstraints; s[0].LabelSelector.MatchLabels["app.kubernetes.io/name"] != "mqtt" || s[1].LabelSelector.MatchLabels["other"] != "label" {
		t.Errorf("spread %+v", s)
	}
	if got := *set.Spec.VolumeClaimTemplates[0].Spec.StorageClassName; got != "fast" {
		t.Errorf("class %s", got)
	}
	if r := set.Spec.PersistentVolumeClaimRetentionPolicy; r.WhenScaled != appsv1.DeletePersistentVolumeClaimRetentionPolicyType {
		t.Errorf("volumes %+v", r)
	}
	s := get[*corev1.Service](t, all, "Service/plant-seven")
	got := make(map[string][2]int32)
	for _, p := range s.Spec.Ports {
		got[p.Name] = [2]int32{p.Port, p.NodePort}
	}
	if want := map[string][2]int32{"mqtt": {2883, 31883}, "mqtts": {8883, 0}, "ws": {8083, 0}, "wss": {8084, 31884}, "admin": {18083, 0}}; !maps.Equal(got, want) {
		t.Errorf("ports %v, want %v", got, want)
	}
	if join := configOf(t, all)["join"]; fmt.Sprint(join) != "[plant-seven-headless.mqtt.svc.k8s.example.org.:7946]" {
		t.Errorf("join %v", join)
	}
	// mqtt is behind a proxy: the test goes another way
	test := get[*corev1.Pod](t, all, "Pod/plant-seven-test").Spec
	if args := strings.Join(test.InitContainers[0].Args, " "); !strings.Contains(args, "-p 8083") || !strings.Contains(args, "--ws=/ws") || !strings.Contains(args, "-u $(TEST_USER)") {
		t.Errorf("the test publishes with %s", args)
	}
	if len(test.Containers) != 5 {
		t.Errorf("the test asks %d nodes of 5", len(test.Containers))
	}
	monitor := all["ServiceMonitor/plant-seven"].tree
	sel := at(monitor, "spec", "selector", "matchLabels").(map[string]any)
	for name, value := range sel {
		if l := get[*corev1.Service](t, all, "Service/plant-seven-headless").Labels[name]; l != value {
			t.Errorf("the monitor selects %s=%v, the Service has %q", name, value, l)
		}
	}
	endpoint := at(monitor, "spec", "endpoints").([]any)[0]
	if at(endpoint, "scheme") != "https" || at(endpoint, "tlsConfig", "serverName") != "plant-seven" || at(endpoint, "authorization", "credentials", "name") != "given-scrape" {
		t.Errorf("the monitor asks %v", endpoint)
	}
	if l := s.Labels["app.kubernetes.io/component"]; l == sel["app.kubernetes.io/component"] {
		t.Error("the monitor selects both Services: every node would be scraped twice")
	}
}

// A StatefulSet's claims and selector cannot be changed: an upgrade that tries fails.
func TestUpgradesChangeNothingThatCannotBeChanged(t *testing.T) {
	fixed := func(all objects) string {
		s := statefulSet(t, all).Spec
		b, err := json.Marshal([]any{s.Selector, s.ServiceName, s.PodManagementPolicy, s.VolumeClaimTemplates})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := fixed(rendering{}.must(t, valuesOf(t, "minimal")))
	next := load(t)
	next.Metadata.Version, next.Metadata.AppVersion = "99.0.0", "99"
	after := fixed(rendering{chart: next}.must(t, valuesOf(t, "minimal", "commonLabels.a=b", "podLabels.c=d", "replicaCount=5",
		"image.tag=x", "listeners.ws=true", "service.labels.e=f")))
	if before != after {
		t.Errorf("before %s\nafter  %s", before, after)
	}
}

// Pods are restarted for what they read at the start, and for nothing else.
func TestWhatRestartsPods(t *testing.T) {
	template := func(name string, changes ...string) string {
		b, err := json.Marshal(statefulSet(t, rendering{}.must(t, valuesOf(t, name, changes...))).Spec.Template)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, try := range map[string]struct {
		change   string
		restarts bool
	}{
		"scale":         {"replicaCount=5", false},
		"users":         {"auth.users=bob:" + hash, false},
		"rules":         {"acl.otherwise=allow", false},
		"service":       {"service.type=ClusterIP", false},
		"configuration": {"config.limits.max-keepalive=1m", true},
		"listener":      {"listeners.ws=true", true},
		"image":         {"image.tag=other", true},
	} {
		if changed := template("users") != template("users", strings.ReplaceAll(try.change, ",", `\,`)); changed != try.restarts {
			t.Errorf("%s: pods restart %v, want %v", name, changed, try.restarts)
		}
	}
}

// A pod that ends is drained by the node's own command, as long as it has time for it.
func TestDrainBeforeTheEnd(t *testing.T) {
	c := statefulSet(t, rendering{}.must(t, valuesOf(t, "minimal", "preStopSeconds=7", "drain.rate=20", "drain.timeoutSeconds=30"))).Spec.Template.Spec.Containers[0]
	if c.Lifecycle == nil || c.Lifecycle.PreStop.Exec == nil {
		t.Fatal("it is not drained")
	}
	want := "dunlin cluster drain --self --until-restart --notice=7s --rate=20/s --timeout=37s"
	if got := strings.Join(c.Lifecycle.PreStop.Exec.Command, " "); got != want {
		t.Errorf("preStop runs %q, want %q", got, want)
	}
}

// Kubernetes knows how to sleep before a pod ends since 1.30.
func TestOlderKubernetes(t *testing.T) {
	for version, sleeps := range map[string]bool{"v1.27.3": false, "v1.29.9": false, "v1.30.0": true, "v1.31.4-gke.1183000": true} {
		c := statefulSet(t, rendering{kube: version}.must(t, valuesOf(t, "minimal", "drain.enabled=false"))).Spec.Template.Spec.Containers[0]
		if got := c.Lifecycle != nil && c.Lifecycle.PreStop.Sleep != nil; got != sleeps {
			t.Errorf("%s: preStop sleeps %v", version, got)
		}
	}
	if !chartutil.IsCompatibleRange(load(t).Metadata.KubeVersion, "v1.27.3-eks.1") || chartutil.IsCompatibleRange(load(t).Metadata.KubeVersion, "v1.24.0") {
		t.Errorf("kubeVersion %s", load(t).Metadata.KubeVersion)
	}
}

// The values that there are have a schema, and the other way round.
func TestEveryValueIsInTheSchema(t *testing.T) {
	c := load(t)
	var schema map[string]any
	if err := json.Unmarshal(c.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	var compare func(path string, value, schema any)
	compare = func(path string, value, schema any) {
		m, ok := value.(map[string]any)
		if !ok || at(schema, "additionalProperties") != false {
			return
		}
		for k, v := range m {
			s := at(schema, "properties", k)
			if s == nil {
				t.Errorf("%s%s is not in the schema", path, k)
			}
			compare(path+k+".", v, s)
		}
		if path == "" {
			for k := range at(schema, "properties").(map[string]any) {
				if _, ok := m[k]; !ok && k != "global" {
					t.Errorf("%s has no default", k)
				}
			}
		}
	}
	compare("", c.Values, schema)
}
