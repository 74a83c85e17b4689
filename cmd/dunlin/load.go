package main

import (
	"encoding/json"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dunlin/cmd/dunlin/internal/load"
	"dunlin/cmd/dunlin/internal/load/floor"
)

func newLoad() *cobra.Command {
	var (
		o      load.Options
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "load SCENARIO",
		Short: "Drive a broker with many clients and say what that cost it",
		Long:  "Drive a broker with many clients and say what that cost it.\n\n" + scenarioHelp(),
		Example: `  dunlin load pairs-1 --pid $(pidof dunlin)
  dunlin load fan-in --publish 127.0.0.1:1883 --subscribe 127.0.0.1:1884 --duration 10s`,
		Args: exactly("the scenario"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Scenario, err = load.Named(args[0]); err != nil {
				return &usageError{err}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			r, err := load.Run(ctx, o)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			}
			printResult(cmd, o, r)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Publish, "publish", []string{"127.0.0.1:1883"}, "`addresses` that publishers connect to, in turn")
	f.StringSliceVar(&o.Subscribe, "subscribe", nil, "`addresses` that subscribers connect to; default: as --publish")
	f.DurationVar(&o.Warmup, "warmup", 500*time.Millisecond, "time before anything is measured")
	f.DurationVar(&o.Duration, "duration", 3*time.Second, "time that is measured")
	f.IntSliceVar(&o.Processes, "pid", nil, "`processes` whose processor time is measured")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.AddCommand(newLoadFloor())
	return cmd
}

func scenarioHelp() string {
	text := "Scenarios:\n"
	for _, s := range load.Scenarios {
		text += fmt.Sprintf("  %-18s ", s.Name)
		switch s.Work {
		case load.Connects:
			text += fmt.Sprintf("%d clients that connect and leave, over and over", s.Subscribers)
		case load.Subscribes:
			text += fmt.Sprintf("%d clients that subscribe and unsubscribe, over and over", s.Subscribers)
		default:
			text += fmt.Sprintf("%d publishers, %d subscribers, QoS %d", s.Publishers, s.Subscribers, s.QoS)
		}
		if s.Persistent {
			text += ", sessions are kept"
		}
		if s.Rate > 0 {
			text += fmt.Sprintf(", %d messages a second", s.Rate)
		}
		text += "\n"
	}
	return text
}

func printResult(cmd *cobra.Command, o load.Options, r load.Outcome) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%d deliveries in %v, %.0f a second\n", r.Delivered, r.Elapsed.Round(time.Millisecond), float64(r.Delivered)/r.Elapsed.Seconds())
	if len(o.Processes) > 0 {
		fmt.Fprintf(out, "%v of processor time a delivery\n", r.PerMessage())
	}
	if r.Median > 0 {
		fmt.Fprintf(out, "latency: median %v, 99 of 100 below %v\n", r.Median, r.P99)
	}
	fmt.Fprintf(out, "missing %d, repeated or out of order %d\n", r.Missing, r.Late)
}

func newLoadFloor() *cobra.Command {
	var addr, topology string
	cmd := &cobra.Command{
		Use:   "floor",
		Short: "Run the bare relay that brokers are compared with",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := floor.ParseTopology(topology)
			if err != nil {
				return &usageError{err}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return floor.Run(ctx, addr, t)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:1883", "`address` to listen on")
	cmd.Flags().StringVar(&topology, "topology", "pairs", "who gets what is published: pairs, every or share")
	return cmd
}
