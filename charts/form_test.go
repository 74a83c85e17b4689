package charts

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// pod is a process that runs as a pod of the StatefulSet would, at a loopback address.
type pod struct {
	ip  string
	log bytes.Buffer
	cmd *exec.Cmd
}

// With the key and the certificates that the chart makes, the nodes that it configures
// become one cluster; and what helm test runs succeeds.
func TestNodesFormACluster(t *testing.T) {
	bin, err := broker()
	if err != nil {
		t.Fatal(err)
	}
	all := rendering{}.must(t, valuesOf(t, "minimal"))
	root := mounted(t, all)
	container := statefulSet(t, all).Spec.Template.Spec.Containers[0]
	var (
		pods []*pod
		join []string
	)
	for n := range 3 {
		ip := fmt.Sprintf("127.%d.%d.%d", 2+os.Getpid()/250%250, 2+os.Getpid()%250, n+1)
		l, err := net.Listen("tcp", ip+":1883")
		if err != nil {
			t.Skipf("this machine has no address %s: %v", ip, err)
		}
		l.Close()
		pods, join = append(pods, &pod{ip: ip}), append(join, ip+":7946")
	}
	for n, p := range pods {
		p.cmd = exec.Command(bin, container.Args...)
		p.cmd.Env = append(environment(container.Env, root, p.ip),
			// A process has an address where a pod has a network, and no DNS.
			"DUNLIN_JOIN="+strings.Join(join, ","), "DUNLIN_MQTT_ADDR="+p.ip+":1883", "DUNLIN_HTTP_ADDR="+p.ip+":18083",
			fmt.Sprintf("DUNLIN_NODE_NAME=dunlin-%d", n), "DUNLIN_DATA_DIR="+filepath.Join(t.TempDir(), "data"),
		)
		p.cmd.Stderr = &p.log
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
			if err := p.cmd.Wait(); err != nil {
				t.Errorf("%s ends with %v", p.ip, err)
			}
			if t.Failed() {
				t.Logf("%s:\n%s", p.ip, p.log.String())
			}
		})
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		ready := 0
		for _, p := range pods {
			if r, err := http.Get("http://" + p.ip + ":18083" + container.ReadinessProbe.HTTPGet.Path); err == nil {
				r.Body.Close()
				if r.StatusCode == http.StatusOK {
					ready++
				}
			}
		}
		if ready == len(pods) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d pods become ready", ready, len(pods))
		}
	}
	test := get[*corev1.Pod](t, all, "Pod/dunlin-test").Spec
	for _, c := range append(test.InitContainers, test.Containers...) {
		args := make([]string, len(c.Args))
		for k, a := range c.Args {
			for n, p := range pods {
				a = strings.ReplaceAll(a, fmt.Sprintf("dunlin-%d.dunlin-headless.mqtt.svc", n), p.ip)
			}
			args[k] = strings.ReplaceAll(a, "dunlin.mqtt.svc", pods[0].ip)
		}
		cmd := exec.Command(bin, args...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v\n%s", cmd, err, out)
		}
		if strings.HasPrefix(c.Name, "node-") && string(out) != "revision 1\n" {
			t.Errorf("%v: %q", cmd, out)
		}
	}
}
