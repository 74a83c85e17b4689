package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"dunlin/node/admin"
	"dunlin/node/auth/scram"
	"dunlin/node/auth/users"
)

func newUser() *cobra.Command {
	return parent("user", "Look after users and their passwords, of the cluster or in a file",
		newUserAdd(), newUserPasswd(), newUserList(), newUserRemove())
}

// userStore is where the commands on users find them: in the cluster, which any node is
// asked for, or in a file.
type userStore struct {
	node api
	file userFile
}

func (s *userStore) bind(cmd *cobra.Command) {
	s.file.bind(cmd)
	s.node.bind(cmd)
}

// inFile says whether the file is meant.
func (s *userStore) inFile(cmd *cobra.Command) (bool, error) {
	switch {
	case !cmd.Flags().Changed("file"):
		return false, nil
	case s.file.path == "":
		return false, wrongUsage("--file is empty: want the file of users, or leave it out for those of the cluster")
	case s.node.http != "" || s.node.dataDir != "":
		return false, wrongUsage("--file is for a file, --http and --data-dir for the cluster: want one")
	}
	return true, nil
}

// put gives a user a password that is asked for; with add only a new user.
func (s *userStore) put(cmd *cobra.Command, name string, keep *kept, add bool) error {
	inFile, err := s.inFile(cmd)
	if err != nil {
		return err
	}
	if err := users.CheckName(name); err != nil {
		return wrongUsage("%w", err)
	}
	if inFile {
		return s.putInFile(cmd, name, keep, add)
	}
	record, err := keep.ask(cmd)
	if err != nil {
		return err
	}
	body, err := json.Marshal(admin.Credentials{Hash: record.String()})
	if err != nil {
		return err
	}
	var done admin.UserPut
	path := userPath(name) + "?new=" + strconv.FormatBool(add)
	if err := s.node.send(cmd.Context(), http.MethodPut, path, bytes.NewReader(body), &done); err != nil {
		return err
	}
	return hintAtStore(cmd.ErrOrStderr(), done.InUse)
}

func (s *userStore) putInFile(cmd *cobra.Command, name string, keep *kept, add bool) error {
	there := fmt.Errorf("user %q is there already", name)
	text, err := s.file.read(true)
	if err != nil {
		return err
	}
	if add && users.Has(text, name) {
		return there // before anybody is asked for a password
	}
	record, err := keep.ask(cmd)
	if err != nil {
		return err
	}
	return s.file.edit(true, func(text []byte) ([]byte, error) {
		if add && users.Has(text, name) {
			return nil, there
		}
		return users.Put(text, name, record)
	})
}

func userPath(name string) string { return "/api/v1/users/" + segment(name) }

// hintAtStore says when users of the cluster are not let in.
func hintAtStore(to io.Writer, inUse bool) error {
	if inUse {
		return nil
	}
	_, err := fmt.Fprintln(to, "note: the node that was asked does not let users of the cluster in: set auth.store: true in the configuration of the nodes")
	return err
}

func newUserAdd() *cobra.Command {
	var (
		store userStore
		keep  kept
	)
	cmd := &cobra.Command{
		Use:   "add USER",
		Short: "Add a user with a password",
		Long: `Add a user with a password, which is asked for, or read from standard input: the first
line. The cluster keeps a hash of it, argon2id, which is made here and costs a node 19 MB and some
20 ms to check, and a verifier for clients that prove to know the password by SCRAM, which need some
30 ms for that, or seconds where they are small: --scram-iterations says how often they hash it.
Nodes that have auth.store set let the user in, the one that is asked at once, others a moment later.`,
		Example: `  dunlin user add ann
  openssl rand -base64 18 | tee secret | dunlin user add sensor-1 --http 127.0.0.1:18084
  dunlin user add --file /etc/dunlin/users ann`,
		Args: exactly("the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error { return store.put(cmd, args[0], &keep, true) },
	}
	store.bind(cmd)
	keep.bind(cmd)
	return cmd
}

func newUserPasswd() *cobra.Command {
	var (
		store userStore
		keep  kept
	)
	cmd := &cobra.Command{
		Use:   "passwd USER",
		Short: "Give a user a password, a new user too",
		Long: `Give a user a password, a new user too. It is asked for, or read from standard
input: the first line. A hash of it is kept, and a verifier, as by dunlin user add.

A user of the cluster who is connected is disconnected, on all nodes, and comes back with the new
password. With --file the file is changed, or made: nodes that run with it take it over within
seconds, at once on SIGHUP, and who is connected stays.`,
		Example: `  dunlin user passwd ann
  dunlin user passwd --file /etc/dunlin/users ann
  openssl rand -base64 18 | tee secret | dunlin user passwd --file users sensor-1
  dunlin user passwd --hash=false --scram-iterations 4096 sensor-2`,
		Args: exactly("the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error { return store.put(cmd, args[0], &keep, false) },
	}
	store.bind(cmd)
	keep.bind(cmd)
	return cmd
}

// kept is the flags that say what is kept of a password.
type kept struct {
	hash       bool
	scram      []string
	iterations int
}

func (k *kept) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&k.hash, "hash", true, "keep a hash, for clients that send the password")
	f.StringSliceVar(&k.scram, "scram", []string{scram.SHA256.String()},
		"keep verifiers for these `mechanisms`, "+scram.SHA256.String()+" or "+scram.SHA512.String()+", for clients that prove to know the password; none: no verifier")
	f.IntVar(&k.iterations, "scram-iterations", scram.DefaultIterations, "how often a client hashes the password for each proof")
}

// mechanisms are those to keep verifiers for.
func (k *kept) mechanisms() (ms []scram.Mechanism, err error) {
	if k.iterations < scram.MinIterations || k.iterations > scram.MaxIterations {
		return nil, wrongUsage("--scram-iterations: want %d to %d", scram.MinIterations, scram.MaxIterations)
	}
	if !slices.Equal(k.scram, []string{"none"}) {
		for _, name := range k.scram {
			m, ok := scram.ParseMechanism(name)
			if !ok {
				return nil, wrongUsage("--scram: %q is not allowed: want %s, %s or none", name, scram.SHA256, scram.SHA512)
			}
			ms = append(ms, m)
		}
	}
	if !k.hash && len(ms) == 0 {
		return nil, wrongUsage("neither --hash nor --scram: nothing would be kept of the password")
	}
	return ms, nil
}

// ask reads a password and makes what is to be kept of it.
func (k *kept) ask(cmd *cobra.Command) (users.Record, error) {
	mechanisms, err := k.mechanisms()
	if err != nil {
		return users.Record{}, err
	}
	secret, err := askPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
	if err != nil {
		return users.Record{}, err
	}
	r, err := users.MakeRecord(secret, k.hash, mechanisms, k.iterations)
	if errors.Is(err, scram.ErrPassword) {
		err = fmt.Errorf("%w; or --scram none", err)
	}
	return r, err
}

// askPassword reads a password: twice, and unseen, from a person at a terminal.
func askPassword(from io.Reader, prompts io.Writer) ([]byte, error) {
	f, ok := from.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(from).ReadString('\n')
		if err != nil && err != io.EOF {
			return nil, err
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return nil, errors.New("no password on standard input")
		}
		return []byte(line), nil
	}
	var typed [2][]byte
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(prompts, prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(prompts)
		if err != nil {
			return nil, err
		}
		typed[i] = b
	}
	if !bytes.Equal(typed[0], typed[1]) {
		return nil, errors.New("the two are not the same")
	}
	return typed[0], nil
}

func newUserList() *cobra.Command {
	var (
		store userStore
		form  format
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the users",
		Example: `  dunlin user list
  dunlin user list --file /etc/dunlin/users -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			inFile, err := store.inFile(cmd)
			if err != nil {
				return err
			}
			var names []string
			if inFile {
				names, err = store.file.names()
			} else {
				names, err = store.names(cmd.Context(), cmd.ErrOrStderr())
			}
			if err != nil {
				return err
			}
			t := newTable("USER")
			for _, name := range names {
				t.row(name)
			}
			return form.print(cmd.OutOrStdout(), names, t)
		},
	}
	store.bind(cmd)
	form.bind(cmd)
	return cmd
}

// names are those of the cluster's users.
func (s *userStore) names(ctx context.Context, hints io.Writer) ([]string, error) {
	names, after := []string{}, ""
	for {
		query := url.Values{"limit": {"1000"}, "after": {after}}
		var page admin.UserPage
		if err := s.node.do(ctx, http.MethodGet, "/api/v1/users?"+query.Encode(), &page); err != nil {
			return nil, err
		}
		for _, u := range page.Users {
			names = append(names, u.Name)
		}
		if after = page.Next; after == "" {
			return names, hintAtStore(hints, page.InUse)
		}
	}
}

func newUserRemove() *cobra.Command {
	var store userStore
	cmd := &cobra.Command{
		Use:   "remove USER",
		Short: "Remove a user",
		Long: `Remove a user. Nodes let a user of the cluster in no more, and close his connections: the node
that is asked at once, others a moment later. Sessions stay until they expire, and are his again if he
is added again.

With --file the user is taken out of the file. Nodes that have it close his connections within
seconds, at once on SIGHUP.`,
		Example: `  dunlin user remove ann
  dunlin user remove --file /etc/dunlin/users ann`,
		Args: exactly("the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			inFile, err := store.inFile(cmd)
			if err != nil {
				return err
			}
			if !inFile {
				if err := one("the user's name", args[0]); err != nil {
					return err
				}
				return store.node.do(cmd.Context(), http.MethodDelete, userPath(args[0]), nil)
			}
			return store.file.edit(false, func(text []byte) ([]byte, error) { return users.Remove(text, args[0]) })
		},
	}
	store.bind(cmd)
	return cmd
}
