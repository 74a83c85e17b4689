package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"dunlin/node/admin"
)

func newClients() *cobra.Command {
	return parent("clients", "List, show and disconnect the clients of a node",
		newClientsList(), newClientsShow(), newClientsKick())
}

func newClientsList() *cobra.Command {
	var (
		node  api
		form  format
		limit int
		after string
	)
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the clients connected to a node, by client identifier",
		Example: `  dunlin clients ls --limit 20
  dunlin clients ls --http 127.0.0.1:18084 -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return wrongUsage("--limit: want a number, 0 for all")
			}
			clients := []admin.Client{}
			for limit == 0 || len(clients) < limit {
				n := 1000
				if limit > 0 {
					n = min(n, limit-len(clients))
				}
				query := url.Values{"limit": {strconv.Itoa(n)}, "after": {after}}
				var page admin.ClientPage
				if err := node.do(cmd.Context(), http.MethodGet, "/api/v1/clients?"+query.Encode(), &page); err != nil {
					return err
				}
				clients = append(clients, page.Clients...)
				if after = page.Next; after == "" {
					break
				}
			}
			t := newTable("CLIENT", "USER", "NODE", "FROM", "MQTT", "CONNECTED", "SUBSCRIPTIONS", "INFLIGHT", "QUEUED")
			for _, c := range clients {
				t.row(c.ClientID, c.Username, c.Node, c.Remote, c.Version, c.Connected.Local().Format(time.DateTime),
					strconv.Itoa(c.Subscriptions), strconv.Itoa(c.Inflight), strconv.Itoa(c.Queued))
			}
			return form.print(cmd.OutOrStdout(), clients, t)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "list at most so many; 0: all")
	cmd.Flags().StringVar(&after, "after", "", "begin after this client `identifier`")
	node.bind(cmd)
	form.bind(cmd)
	return cmd
}

func newClientsShow() *cobra.Command {
	var (
		node api
		form format
	)
	cmd := &cobra.Command{
		Use:   "show CLIENT",
		Short: "Show one client",
		Args:  exactly("the client identifier"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var c admin.Client
			if err := node.do(cmd.Context(), http.MethodGet, "/api/v1/clients/"+segment(args[0]), &c); err != nil {
				return err
			}
			t := new(table)
			t.row("client", c.ClientID)
			t.row("user", c.Username)
			t.row("node", c.Node)
			t.row("from", c.Remote)
			t.row("mqtt", c.Version)
			t.row("connected", c.Connected.Local().Format(time.DateTime))
			t.row("keep-alive", (time.Duration(c.KeepAlive) * time.Second).String())
			t.row("subscriptions", strconv.Itoa(c.Subscriptions))
			t.row("inflight", strconv.Itoa(c.Inflight))
			t.row("queued", strconv.Itoa(c.Queued))
			return form.print(cmd.OutOrStdout(), c, t)
		},
	}
	node.bind(cmd)
	form.bind(cmd)
	return cmd
}

func newClientsKick() *cobra.Command {
	var node api
	cmd := &cobra.Command{
		Use:   "kick CLIENT",
		Short: "Close a client's connection; its session and its will follow the protocol",
		Args:  exactly("the client identifier"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := node.do(cmd.Context(), http.MethodDelete, "/api/v1/clients/"+segment(args[0]), nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "kicked %q\n", args[0])
			return err
		},
	}
	node.bind(cmd)
	return cmd
}
