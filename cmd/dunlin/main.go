// Command dunlin is a clustered MQTT broker and the tools that go with it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dunlin/node/config"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit codes: what scripts can rely on.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// run is main with its surroundings as arguments.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(stderr, "dunlin: "+err.Error())
	var (
		wrong *usageError
		bad   *config.Error
	)
	if errors.As(err, &wrong) || errors.As(err, &bad) && bad.Flag {
		return exitUsage
	}
	return exitFailed
}

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func wrongUsage(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dunlin",
		Short: "A clustered MQTT broker",
		Long: `Dunlin is a clustered MQTT broker: one binary, any number of nodes, nothing else to run.

To see it work:
  dunlin dev                           three nodes on this machine
  dunlin sub -p 1885 -t 'a/#' -v       in a second terminal, on the third node
  dunlin pub -p 1883 -t a/b -m hello   in a third one, on the first`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var value *pflag.InvalidValueError
		if errors.As(err, &value) {
			return wrongUsage("%w; see %s --help", wrongValue(value), cmd.CommandPath())
		}
		if s, ok := settingWithoutFlag(cmd, err); ok {
			return wrongUsage("%w: %s is set in the file, or by %s in the environment", err, s.Key, s.Env())
		}
		if n := nearestFlag(cmd, err); n != "" {
			return wrongUsage("%w, did you mean --%s? See %s --help", err, n, cmd.CommandPath())
		}
		return wrongUsage("%w; see %s --help", err, cmd.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Running nodes:"},
		&cobra.Group{ID: "mqtt", Title: "Publishing and subscribing:"},
		&cobra.Group{ID: "admin", Title: "Looking after nodes:"},
	)
	root.SetHelpCommandGroupID("admin")
	add(root, "run", newServe(), newHasher(), newDev(), newConfig())
	add(root, "mqtt", newPub(), newSub(), newBench())
	add(root, "admin", newCluster(), newClients(), newUser(), newACL(), newBan(), newToken(), newVersion())
	return root
}

// wrongValue says of a flag what was given and what is allowed, where pflag would
// tell how it looked for a number.
func wrongValue(e *pflag.InvalidValueError) error {
	f, want := e.GetFlag(), strings.TrimPrefix(e.Unwrap().Error(), "want ")
	switch f.Value.Type() {
	case "uint8":
		want = "a whole number from 0 to 255"
	case "uint16":
		want = "a whole number from 0 to 65535"
	case "uint32":
		want = "a whole number from 0 to 4294967295"
	case "int", "int64", "uint", "uint64":
		want = "a whole number"
	case "float64":
		want = "a number"
	case "duration":
		want = "a duration, such as 500ms, 30s or 5m"
	case "bool":
		want = "true or false"
	}
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	return fmt.Errorf("%s: %q is not allowed: want %s", name, e.GetValue(), want)
}

func add(root *cobra.Command, group string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// parent makes a command that only holds others.
func parent(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short,
		SuggestionsMinimumDistance: 2,
		Args:                       cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	c.AddCommand(children...)
	return c
}

func unknownCommand(cmd *cobra.Command, name string) error {
	hint := ""
	if s := cmd.SuggestionsFor(name); len(s) > 0 {
		hint = ", did you mean " + s[0] + "?"
	}
	return wrongUsage("%s has no command %q%s", cmd.CommandPath(), name, hint)
}

// nearestFlag is the flag of cmd that an unknown one might have been, "" if none is
// near or err is about something else.
func nearestFlag(cmd *cobra.Command, err error) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return config.Nearest(unknown.GetSpecifiedName(), names)
}

// settingWithoutFlag is the setting that an unknown flag of cmd is to give, --tls-cert
// say, of those that have no flag.
func settingWithoutFlag(cmd *cobra.Command, err error) (config.Setting, bool) {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || cmd.Flags().Lookup("node-name") == nil { // no command that loads settings
		return config.Setting{}, false
	}
	c := config.Default()
	for _, s := range config.Settings(&c) {
		name := unknown.GetSpecifiedName()
		if !s.HasFlag() && (name == s.Key || name == strings.ReplaceAll(s.Key, ".", "-")) {
			return s, true
		}
	}
	return config.Setting{}, false
}

// exactly is cobra.ExactArgs with an error that names what is wanted.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return wrongUsage("%s: want %s", cmd.CommandPath(), names[len(args)])
		}
		if len(args) > len(names) {
			return wrongUsage("%s: %q is one argument too many", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}
