package cluster_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/cluster"
	"dunlin/router"
)

// joinEnv makes the test binary a node of its own that joins that address.
const joinEnv = "DUNLIN_TEST_JOIN"

func TestMain(m *testing.M) {
	if addr := os.Getenv(joinEnv); addr != "" {
		if err := runNode(addr); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

func runNode(join string) error {
	o := cluster.DefaultOptions()
	o.Name, o.Identity, o.Start = "child", "id-child", 1
	o.Cluster = "ours"
	o.GossipAddr, o.ClusterAddr = "127.0.0.1:0", "127.0.0.1:0"
	o.Join = []string{join}
	o.Logger = slog.New(slog.DiscardHandler)
	c, err := cluster.New(o, router.NewTable(), new(counter))
	if err != nil {
		return err
	}
	if err := c.Start(context.Background()); err != nil {
		return err
	}
	fmt.Println("started")
	return nil
}

// A process that is killed is missed because its ports are closed, before gossip
// would miss it.
func TestKilledProcess(t *testing.T) {
	reg := prometheus.NewRegistry()
	o := loopback(t, "a")
	o.Registerer = reg
	a := newNode(t, o).ready()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), joinEnv+"="+a.GossipAddr())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "started" {
		t.Fatalf("child: %q, %v", line, err)
	}
	a.broker.until("child", func() bool { return len(a.broker.members) == 1 })
	// Once it has confirmed routes and frames its streams are up.
	child := a.peer("child")
	_, v := a.table.Subscribe(filter(t, "x"), 1, router.Options{})
	a.routed(v)
	a.Forward(child, cluster.Frame{Body: a.body(0), Reliable: true, Token: 1})
	a.broker.until("confirmation", func() bool { return len(a.broker.confirmed) == 1 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	a.broker.until("leaving", func() bool { return len(a.broker.members) == 0 })
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "dunlin_cluster_members_gone_total" {
			if got := f.GetMetric()[0].GetLabel()[0].GetValue(); got != "refused" {
				t.Errorf("found out by %q", got)
			}
		}
	}
}
