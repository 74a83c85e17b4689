//go:build !linux

package load

import "context"

func run(context.Context, Options) (Outcome, error) { return Outcome{}, ErrUnsupported }
