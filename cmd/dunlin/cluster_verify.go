package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/terminal"
	"dunlin/node/admin"
)

func newClusterVerify() *cobra.Command {
	var (
		node api
		form format
	)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Say what does not agree among the nodes of the cluster",
		Long: `Ask all nodes, while they serve, and say what does not agree, one line each:

- replicas of a shard whose digest after the same entry is not the leader's, which
  speaks for sessions, queues and retained messages; that are stuck; shards that
  nobody leads
- sessions that are attached to a connection or node which is not there;
  connections that hold a client identifier without a claim, or two that hold one
- routes: the filters of each shard and of each node, share groups with their
  members among them, against what every node holds of them
- nodes of the cluster that do not answer

What differs is asked again for 20 seconds: only what differs in the same way all
the time is said. What changed so fast that it could not be compared is said on
standard error.

If all agrees the command prints nothing and exits with 0, else with 1.`,
		Example: `  dunlin cluster verify
  dunlin cluster verify --http 127.0.0.1:18084 -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := terminal.NewStatus(cmd.ErrOrStderr())
			result, err := verifyCluster(cmd, &node, p)
			p.Clear()
			if err != nil {
				return err
			}
			if form != "table" {
				if err := form.print(cmd.OutOrStdout(), result, nil); err != nil {
					return err
				}
			} else {
				for _, d := range result.Findings {
					fmt.Fprintln(cmd.OutOrStdout(), d.Line)
				}
				for _, d := range result.Unsure {
					fmt.Fprintln(cmd.ErrOrStderr(), "not compared: "+d.Line)
				}
			}
			switch n := len(result.Findings); n {
			case 0:
				return nil
			case 1:
				return errors.New("one thing does not agree")
			default:
				return fmt.Errorf("%d things do not agree", n)
			}
		},
	}
	node.bind(cmd)
	form.bind(cmd)
	return cmd
}

// maxAnswerLine bounds a line of the node's answer, the last of which has all findings.
const maxAnswerLine = 64 << 20

// verifyCluster has a node verify the cluster and shows what it does.
func verifyCluster(cmd *cobra.Command, node *api, p *terminal.Status) (*admin.Verification, error) {
	answer, err := node.stream(cmd.Context(), http.MethodGet, "/api/v1/verify", nil)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	lines := bufio.NewScanner(answer)
	lines.Buffer(nil, maxAnswerLine)
	for lines.Scan() {
		var e admin.VerifyEvent
		switch err := json.Unmarshal(lines.Bytes(), &e); {
		case err != nil:
			return nil, fmt.Errorf("read the answer of the node: %w", err)
		case e.Error != "":
			return nil, errors.New(e.Error)
		case e.Result != nil:
			return e.Result, nil
		}
		p.Line("%s", e.Step)
	}
	return nil, fmt.Errorf("the answer of the node ends early: %w", cmp.Or(lines.Err(), io.ErrUnexpectedEOF))
}
