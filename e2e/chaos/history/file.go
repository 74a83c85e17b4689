package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The files of a history, JSON, one entry a line.
const (
	eventsFile = "events.jsonl"
	faultsFile = "faults.jsonl"
	seedFile   = "seed"
)

// Write keeps h in dir, which it makes.
func (h *History) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, seedFile), fmt.Appendln(nil, h.Seed), 0o644),
		writeLines(filepath.Join(dir, eventsFile), h.Events),
		writeLines(filepath.Join(dir, faultsFile), h.Faults),
	)
}

func writeLines[T any](path string, entries []T) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for enc, i := json.NewEncoder(w), 0; i < len(entries); i++ {
		if err := enc.Encode(entries[i]); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// ReadDir reads what Write kept.
func ReadDir(dir string) (*History, error) {
	h := new(History)
	b, err := os.ReadFile(filepath.Join(dir, seedFile))
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscan(string(b), &h.Seed); err != nil {
		return nil, fmt.Errorf("%s in %s: %w", seedFile, dir, err)
	}
	if h.Events, err = readLines[Event](filepath.Join(dir, eventsFile)); err != nil {
		return nil, err
	}
	h.Faults, err = readLines[Fault](filepath.Join(dir, faultsFile))
	return h, err
}

func readLines[T any](path string) (entries []T, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for dec := json.NewDecoder(bufio.NewReader(f)); ; {
		var e T
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return entries, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		entries = append(entries, e)
	}
}
