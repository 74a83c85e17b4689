package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"dunlin/node/admin"
	"dunlin/node/auth/acl"
)

func newACL() *cobra.Command {
	return parent("acl", "Look after the cluster's rules of who may publish and subscribe to what",
		newACLShow(), newACLSet(), newACLRemove(), newACLCheck())
}

const aclPath = "/api/v1/acl"

func newACLShow() *cobra.Command {
	var node api
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the cluster's rules, as dunlin acl set takes them",
		Example: `  dunlin acl show > rules.yaml
  dunlin acl show --http 127.0.0.1:18084`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var set admin.RuleSet
			if err := node.do(cmd.Context(), http.MethodGet, aclPath, &set); err != nil {
				return err
			}
			if set.FileRules > 0 {
				if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "note: the %d rules of acl.file at the node that was asked come first there\n", set.FileRules); err != nil {
					return err
				}
			}
			if set.Text == "" {
				_, err := fmt.Fprintln(cmd.ErrOrStderr(), "the cluster has no rules")
				return err
			}
			_, err := io.WriteString(cmd.OutOrStdout(), set.Text)
			return err
		},
	}
	node.bind(cmd)
	return cmd
}

func newACLSet() *cobra.Command {
	var node api
	cmd := &cobra.Command{
		Use:   "set FILE",
		Short: "Give the cluster the rules of a file",
		Long: `Give the cluster the rules of a file, in place of those that it has; - is standard
input. They are written as those of acl.file, are 256 KiB at most, and hold on all nodes from the next
packet of each client on. Where a node has an acl.file, the rules of that come first.`,
		Example: `  dunlin acl set rules.yaml
  dunlin acl show | sed s/old/new/ | dunlin acl set -`,
		Args: exactly("the file of rules"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readRules(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			var set admin.RuleSet
			if err := node.send(cmd.Context(), http.MethodPut, aclPath, bytes.NewReader(text), &set); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the cluster has %d rules, revision %d\n", set.Rules, set.Revision)
			return err
		},
	}
	node.bind(cmd)
	return cmd
}

// readRules reads rules that a node would take.
func readRules(stdin io.Reader, name string) (text []byte, err error) {
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(stdin, acl.MaxFileBytes+1))
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, err
	}
	if _, err := acl.Read(bytes.NewReader(text)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

func newACLRemove() *cobra.Command {
	var node api
	cmd := &cobra.Command{
		Use:   "remove",
		Short: "Remove the cluster's rules",
		Long: `Remove the cluster's rules. What is left are those of acl.file at each node; where there are none,
clients may do nothing if they are asked who they are, and everything if they are not.`,
		Example: `  dunlin acl remove`,
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return node.do(cmd.Context(), http.MethodDelete, aclPath, nil)
		},
	}
	node.bind(cmd)
	return cmd
}

func newACLCheck() *cobra.Command {
	var (
		node        api
		form        format
		user        string
		certificate bool
		qos         uint8
		retain      bool
	)
	cmd := &cobra.Command{
		Use:   "check CLIENT publish|subscribe TOPIC",
		Short: "Say whether a client may publish or subscribe, and by which rule",
		Long: `Say whether a client may publish to a topic, or subscribe to a filter, and by which rule.
CLIENT is the client identifier, which need not be connected. The node that is asked answers as it
would answer the client: by its acl.file first, then by the rules of the cluster.`,
		Example: `  dunlin acl check sensor-1 publish devices/sensor-1/up/t -u ann
  dunlin acl check sensor-1 subscribe 'devices/#' --qos 1 -o json`,
		Args: exactly("the client identifier", "publish or subscribe", "the topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			action := admin.Action(args[1])
			switch {
			case action != admin.Publish && action != admin.Subscribe:
				return wrongUsage("%q is not allowed: want publish or subscribe", args[1])
			case qos > 2:
				return wrongUsage("-q, --qos: \"%d\" is not allowed: want 0, 1 or 2", qos)
			case certificate && user == "":
				return wrongUsage("--certificate: want the user that it names: -u")
			}
			query := url.Values{
				"client": {args[0]}, "user": {user}, "action": {args[1]}, "topic": {args[2]},
				"certificate": {strconv.FormatBool(certificate)}, "qos": {strconv.Itoa(int(qos))}, "retain": {strconv.FormatBool(retain)},
			}
			var v admin.Verdict
			if err := node.do(cmd.Context(), http.MethodGet, aclPath+"/check?"+query.Encode(), &v); err != nil {
				return err
			}
			why, err := verdict(v)
			if err != nil {
				return err
			}
			if form == "table" {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), why) // names in it are quoted
				return err
			}
			return form.print(cmd.OutOrStdout(), v, nil)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&user, "username", "u", "", "the client's user `name`; none if it is left out")
	flags.BoolVar(&certificate, "certificate", false, "a certificate of the client proves the user name")
	flags.Uint8VarP(&qos, "qos", "q", 0, "QoS of the message, or asked for")
	flags.BoolVarP(&retain, "retain", "r", false, "the message is to be retained")
	node.bind(cmd)
	form.bind(cmd)
	return cmd
}

// verdict says a verdict in words.
func verdict(v admin.Verdict) (string, error) {
	word := "denied"
	if v.Allowed {
		word = "allowed"
	}
	switch v.By {
	case admin.ByFile:
		return fmt.Sprintf("%s by rule %d of acl.file: %s", word, v.Rule, v.Text), nil
	case admin.ByStore:
		return fmt.Sprintf("%s by rule %d of the cluster: %s", word, v.Rule, v.Text), nil
	case admin.ByDefault:
		return word + ": no rule speaks of it", nil
	case admin.ByDenyFilters:
		return word + " by acl.deny-filters", nil
	case admin.ByReserved:
		return word + ": nobody may publish to topics that begin with $", nil
	}
	return "", errors.New("the node that was asked decides by what this program does not know: " + strconv.Quote(string(v.By)))
}
