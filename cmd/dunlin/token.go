package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dunlin/node/admin"
	"dunlin/node/token"
)

func newToken() *cobra.Command {
	return parent("token", "Manage tokens of the API", newTokenCreate(), newTokenList(), newTokenRevoke())
}

func newTokenCreate() *cobra.Command {
	var (
		a       api
		form    format
		scope   string
		expires time.Duration
	)
	cmd := &cobra.Command{
		Use:   "create <name>",
		Short: "Make a token, and print it once",
		Long: `Make a token of the API, good at every node of the cluster, and print it: it is kept nowhere, but for a hash.

A token of scope read looks at everything but backups and tokens. One of scope operate also disconnects and bans
clients, moves leaders and verifies the cluster. One of scope admin does everything.`,
		Example: `  dunlin token create grafana --scope read --expires 8760h
  dunlin token create ops --scope operate > ops.token
  dunlin clients ls --http node.example:18083 --token-file ops.token`,
		Args: exactly("name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !token.ValidName(args[0]) {
				return wrongUsage("name %q: %s", args[0], token.WantName)
			}
			if _, err := token.ParseScope(scope); err != nil {
				return wrongUsage("--scope: %w", err)
			}
			if expires < 0 || expires%time.Second != 0 {
				return wrongUsage("--expires: want a duration of whole seconds, such as 720h; 0: never")
			}
			body, err := json.Marshal(admin.TokenRequest{Name: args[0], Scope: scope, Seconds: int64(expires / time.Second)})
			if err != nil {
				return err
			}
			answer, err := a.stream(cmd.Context(), http.MethodPost, "/api/v1/tokens", bytes.NewReader(body))
			if err != nil {
				return err
			}
			defer answer.Close()
			var made admin.NewToken
			if err := json.NewDecoder(io.LimitReader(answer, 1<<20)).Decode(&made); err != nil {
				return fmt.Errorf("read the answer of the node: %w", err)
			}
			if form != "table" {
				return form.print(cmd.OutOrStdout(), made, nil)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), made.Token)
			return err
		},
	}
	a.bind(cmd)
	form.bind(cmd)
	cmd.Flags().StringVar(&scope, "scope", "read", "what it is for: "+strings.Join(token.Scopes, ", "))
	cmd.Flags().DurationVar(&expires, "expires", 0, "after how long it is good no more; 0: never")
	return cmd
}

func newTokenList() *cobra.Command {
	var (
		a    api
		form format
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tokens, which cannot be shown themselves",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list admin.TokenList
			if err := a.do(cmd.Context(), http.MethodGet, "/api/v1/tokens", &list); err != nil {
				return err
			}
			table := newTable("NAME", "SCOPE", "CREATED", "EXPIRES", "SOURCE")
			for _, t := range list.Tokens {
				expires := day(t.Expires)
				if t.Expired {
					expires += " (over)"
				}
				table.row(t.Name, t.Scope, day(t.Created), expires, t.Source)
			}
			return form.print(cmd.OutOrStdout(), list.Tokens, table)
		},
	}
	a.bind(cmd)
	form.bind(cmd)
	return cmd
}

func day(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}

func newTokenRevoke() *cobra.Command {
	var a api
	cmd := &cobra.Command{
		Use:   "revoke <name>",
		Short: "Have a token be good for nothing any more, at every node",
		Args:  exactly("name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := one("name", args[0]); err != nil {
				return err
			}
			return a.do(cmd.Context(), http.MethodDelete, "/api/v1/tokens/"+segment(args[0]), nil)
		},
	}
	a.bind(cmd)
	return cmd
}
