//go:build !linux

package load

import "context"

func run(context.Context, Options) (Result, error) { return Result{}, ErrUnsupported }
