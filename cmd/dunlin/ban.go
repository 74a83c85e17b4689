package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"dunlin/node/admin"
)

func newBan() *cobra.Command {
	return parent("ban", "Keep clients out of the cluster", newBanAdd(), newBanList(), newBanRemove())
}

func banPath(kind, value string) string {
	return "/api/v1/bans/" + segment(kind) + "/" + segment(value)
}

func newBanAdd() *cobra.Command {
	var (
		node  api
		order admin.BanOrder
		hold  time.Duration
	)
	cmd := &cobra.Command{
		Use:   "add client|user|address VALUE",
		Short: "Keep a client identifier, a user, or an address or network out",
		Long: `Keep a client identifier, a user, or an address or network out of the whole cluster, for a
time or for good. Who is connected is disconnected, on all nodes; who connects is told 0x8A (5).
Behind a proxy that speaks the PROXY protocol the address is the client's own.

A ban of the same in place of a former one changes its time and reason.`,
		Example: `  dunlin ban add client pump-7 --for 1h --reason "floods"
  dunlin ban add user guest
  dunlin ban add address 192.0.2.0/24 --for 24h`,
		Args: exactly("client, user or address", "whom to ban"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch seconds := hold / time.Second; {
			case hold < 0 || hold%time.Second != 0 || seconds > math.MaxUint32:
				return wrongUsage("--for %v: want whole seconds, or 0 for good", hold)
			default:
				order.Seconds = uint32(seconds)
			}
			body, err := json.Marshal(order)
			if err != nil {
				return err
			}
			var done admin.Ban
			if err := node.send(cmd.Context(), http.MethodPut, banPath(args[0], args[1]), bytes.NewReader(body), &done); err != nil {
				return err
			}
			until := "for good"
			if done.Until != nil {
				until = "until " + done.Until.Local().Format(time.DateTime)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "banned %s %q %s\n", done.Kind, done.Value, until)
			return err
		},
	}
	cmd.Flags().DurationVar(&hold, "for", 0, "`time` that it holds, such as 1h; 0: for good")
	cmd.Flags().StringVar(&order.Reason, "reason", "", "`text` for people, shown by dunlin ban list")
	node.bind(cmd)
	return cmd
}

func newBanList() *cobra.Command {
	var (
		node api
		form format
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the bans in force",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list admin.BanList
			if err := node.do(cmd.Context(), http.MethodGet, "/api/v1/bans", &list); err != nil {
				return err
			}
			t := newTable("KIND", "VALUE", "UNTIL", "SINCE", "REASON")
			for _, b := range list.Bans {
				until := "for good"
				if b.Until != nil {
					until = b.Until.Local().Format(time.DateTime)
				}
				t.row(b.Kind, b.Value, until, b.Created.Local().Format(time.DateTime), b.Reason)
			}
			return form.print(cmd.OutOrStdout(), list.Bans, t)
		},
	}
	node.bind(cmd)
	form.bind(cmd)
	return cmd
}

func newBanRemove() *cobra.Command {
	var node api
	cmd := &cobra.Command{
		Use:   "remove client|user|address VALUE",
		Short: "End a ban",
		Args:  exactly("client, user or address", "whom to let in again"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := node.do(cmd.Context(), http.MethodDelete, banPath(args[0], args[1]), nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %q may come in again\n", args[0], args[1])
			return err
		},
	}
	node.bind(cmd)
	return cmd
}
