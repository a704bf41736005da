package main

import (
	"context"
	"errors"
	"io"
)

func serve(ctx context.Context, cfg Config, load func() (Config, error), out, errw io.Writer) error {
	return errors.New("serve is being written")
}

func demo(ctx context.Context, listen string, out, errw io.Writer) error {
	return errors.New("demo is being written")
}
