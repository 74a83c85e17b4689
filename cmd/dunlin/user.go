package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"dunlin/node/auth/password"
	"dunlin/node/auth/users"
)

func newUser() *cobra.Command {
	return parent("user", "Look after a file of users", newUserPasswd(), newUserList(), newUserRemove())
}

// userFile is the flag --file of the commands on a file of users.
type userFile struct{ path string }

func (f *userFile) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.path, "file", "", "the `file`: what auth.users-file names in the configuration")
}

// read returns what is in the file; one that has to be made is empty.
func (f *userFile) read(mayBeNew bool) ([]byte, error) {
	if f.path == "" {
		return nil, wrongUsage("want the file of users: --file")
	}
	b, err := os.ReadFile(f.path)
	if mayBeNew && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// check says whether a node would take the text as the file's.
func (f *userFile) check(text []byte) (*users.Table, error) {
	t, err := users.Read(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return t, nil
}

// write gives the file another text at once, or leaves it as it is. A new file is for
// its owner alone; one that was there keeps owner and mode.
func (f *userFile) write(text []byte) (err error) {
	if _, err := f.check(text); err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		path = f.path
	} else if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".users-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
		}
	}()
	if info, err := os.Stat(path); err == nil {
		if err := tmp.Chmod(info.Mode().Perm()); err != nil {
			return err
		}
		if own, ok := info.Sys().(*syscall.Stat_t); ok {
			if err := tmp.Chown(int(own.Uid), int(own.Gid)); err != nil {
				return err
			}
		}
	}
	if _, err = tmp.Write(text); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return tmp.Close()
}

func newUserPasswd() *cobra.Command {
	var file userFile
	cmd := &cobra.Command{
		Use:   "passwd --file FILE USER",
		Short: "Give a user a password, a new user too",
		Long: `Give a user a password, a new user too. It is asked for, or read from standard
input: the first line. The file is made if it is not there, and holds a hash, argon2id,
which costs a node 19 MB and some 20 ms to check. Nodes that run with the file take the
change over within seconds, at once on SIGHUP; who is connected stays.`,
		Example: `  dunlin user passwd --file /etc/dunlin/users ann
  openssl rand -base64 18 | tee secret | dunlin user passwd --file users sensor-1`,
		Args: exactly("the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := file.read(true)
			if err != nil {
				return err
			}
			if err := users.CheckName(args[0]); err != nil {
				return wrongUsage("%w", err)
			}
			secret, err := askPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			hash, err := password.Make(secret)
			if err != nil {
				return err
			}
			if text, err = users.Put(text, args[0], hash); err != nil {
				return err
			}
			return file.write(text)
		},
	}
	file.bind(cmd)
	return cmd
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
		file userFile
		form format
	)
	cmd := &cobra.Command{
		Use:     "list --file FILE",
		Short:   "List the users",
		Example: `  dunlin user list --file /etc/dunlin/users -o json`,
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := file.read(false)
			if err != nil {
				return err
			}
			all, err := file.check(text)
			if err != nil {
				return err
			}
			t := newTable("USER")
			for _, name := range all.Names() {
				t.row(name)
			}
			return form.print(cmd.OutOrStdout(), all.Names(), t)
		},
	}
	file.bind(cmd)
	form.bind(cmd)
	return cmd
}

func newUserRemove() *cobra.Command {
	var file userFile
	cmd := &cobra.Command{
		Use:   "remove --file FILE USER",
		Short: "Take a user out of the file",
		Long: `Take a user out of the file. Nodes let the user in no more within seconds, at once
on SIGHUP. Connections that are there stay: dunlin clients kick closes them.`,
		Example: `  dunlin user remove --file /etc/dunlin/users ann`,
		Args:    exactly("the user's name"),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := file.read(false)
			if err != nil {
				return err
			}
			if text, err = users.Remove(text, args[0]); err != nil {
				return err
			}
			return file.write(text)
		},
	}
	file.bind(cmd)
	return cmd
}
