package chart

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/chaos/history"
)

// lab is the cluster, and the release that is tested in it.
type lab struct {
	t       *testing.T
	rec     *history.Recorder
	epoch   time.Time // when rec began
	program string    // node-stop, node-start, node-cut, node-heal
	chart   string    // folder
}

const (
	release   = "dunlin"
	namespace = "chart"
	service   = "10.96.18.83" // the same for an installation after another
)

// newLab makes the namespace, which admits restricted pods only.
func newLab(t *testing.T) *lab {
	l := &lab{t: t, rec: history.NewRecorder(1), epoch: time.Now(), program: os.Getenv("DUNLIN_LAB"), chart: os.Getenv("DUNLIN_CHART")}
	if l.program == "" || l.chart == "" {
		t.Skip("DUNLIN_LAB and DUNLIN_CHART name no Kubernetes and no chart: run make e2e-chart")
	}
	l.kubectl("create", "namespace", namespace)
	l.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
	return l
}

// run runs a command, which has to succeed, and returns what it printed.
func (l *lab) run(name string, args ...string) string {
	l.t.Helper()
	out, err := l.try(name, args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// try runs a command; the error has what it said.
func (l *lab) try(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out), err
}

func (l *lab) kubectl(args ...string) string {
	l.t.Helper()
	return l.run("kubectl", append([]string{"-n", namespace}, args...)...)
}

// helm runs a command of Helm that changes the release, with these values besides those
// of all.
func (l *lab) helm(command string, values ...string) (string, error) {
	args := []string{"-n", namespace, command, release, l.chart, "--set", "auth.allowAnonymous=true,service.clusterIP=" + service +
		",persistence.size=5Gi,resources.requests.cpu=100m"}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	return l.try("helm", args...)
}

// upgrade changes the release and waits until all is as wanted.
func (l *lab) upgrade(nodes int, values ...string) {
	l.t.Helper()
	if _, err := l.helm("upgrade", values...); err != nil {
		l.t.Fatal(err)
	}
	l.kubectl("rollout", "status", "statefulset/"+release, "--timeout", "300s")
	l.whole(nodes)
}

// eventually polls until done says that it is.
func (l *lab) eventually(what string, within time.Duration, done func() error) {
	l.t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(500 * time.Millisecond) {
		err := done()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("%s: not within %v: %v", what, within, err)
		}
	}
}

// status is what dunlin cluster status -o json says of nodes.
type status struct {
	Nodes  []node
	Groups []struct {
		Group, Leader string
		Replicas      []struct{ Voter, Running bool }
	}
}

type node struct {
	Name            string
	Alive, Admitted bool
	Drain           *struct{} // nil: it takes clients
	Clients         int
	ToAsk           int `json:"to_ask"` // clients, for connections to be even
}

// status asks the first node.
func (l *lab) status() (st status, err error) {
	out, err := l.try("kubectl", "-n", namespace, "exec", release+"-0", "--", "dunlin", "cluster", "status", "-o", "json", "--groups")
	if err == nil {
		err = json.Unmarshal([]byte(out), &st)
	}
	return st, err
}

// nodes are those of the cluster, as the first one knows them.
func (l *lab) nodes() []node {
	l.t.Helper()
	st, err := l.status()
	if err != nil {
		l.t.Fatal(err)
	}
	return st.Nodes
}

// whole waits until so many pods are ready, are the nodes of the cluster, and every
// group has a leader and running voters.
func (l *lab) whole(nodes int) {
	l.t.Helper()
	l.eventually(fmt.Sprintf("%d nodes", nodes), 4*time.Minute, func() error {
		ready, err := l.try("kubectl", "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/name=dunlin",
			"-o", `jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}`)
		if err != nil {
			return err
		}
		if strings.Count(ready, "True") != nodes || strings.Contains(ready, "False") {
			return fmt.Errorf("pods ready: %s", ready)
		}
		st, err := l.status()
		if err != nil {
			return err
		}
		if len(st.Nodes) != nodes {
			return fmt.Errorf("the cluster has %d nodes", len(st.Nodes))
		}
		for _, n := range st.Nodes {
			if !n.Alive || !n.Admitted {
				return fmt.Errorf("node %s is alive %v, admitted %v", n.Name, n.Alive, n.Admitted)
			}
		}
		for _, g := range st.Groups {
			voters := 0
			for _, r := range g.Replicas {
				if r.Voter && r.Running {
					voters++
				}
			}
			if g.Leader == "" || voters < 3 {
				return fmt.Errorf("group %s: leader %q, %d voters", g.Group, g.Leader, voters)
			}
		}
		return nil
	})
}

// address is a pod's own.
func (l *lab) address(pod string) string {
	l.t.Helper()
	return l.kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}") + ":1883"
}

// machine is the number of the machine that a pod runs on.
func (l *lab) machine(pod string) string {
	l.t.Helper()
	return strings.TrimPrefix(l.kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}"), "node")
}

// enterBy has clients reach the Service by way of the machine of a pod, which is not to
// fail then.
func (l *lab) enterBy(pod string) {
	l.t.Helper()
	gate := l.run("kubectl", "get", "node", "node"+l.machine(pod), "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`)
	l.run("ip", "route", "replace", service, "via", gate)
}
