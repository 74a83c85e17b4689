package harness

import (
	"bufio"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// Metrics scrapes the node: the sum over the labels of each name.
func (n *Node) Metrics() map[string]float64 {
	n.t.Helper()
	return n.scrape(n.get)
}

// scrape is Metrics of the page that get fetches.
func (n *Node) scrape(get func(path string) (string, error)) map[string]float64 {
	n.t.Helper()
	text, err := get("/metrics")
	if err != nil {
		n.t.Fatalf("%s: scrape: %v", n.Name, err)
	}
	sums := make(map[string]float64)
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		value := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || value < 0 {
			continue
		}
		v, err := strconv.ParseFloat(line[value+1:], 64)
		if err != nil {
			n.t.Fatalf("%s: metric %q: %v", n.Name, line, err)
		}
		name, _, _ := strings.Cut(line[:value], "{")
		sums[name] += v
	}
	return sums
}

// Held is what a node holds of its machine.
type Held struct {
	Goroutines int
	Files      int    // open descriptors
	Heap       uint64 // bytes in use after a collection
	Disk       uint64 // bytes under its data directory

	Profile string             // of the heap, for go tool pprof
	Metrics map[string]float64 // all of them, as Metrics has them
}

// Held has the node collect its garbage and says what it holds then.
func (n *Node) Held() (h Held) {
	n.t.Helper()
	profile, err := n.fetch("/debug/pprof/heap?gc=1")
	if err != nil {
		n.t.Fatalf("%s: %v", n.Name, err)
	}
	m := n.scrape(n.fetch)
	h.Profile, h.Metrics = profile, m
	h.Goroutines, h.Files = int(m["go_goroutines"]), int(m["process_open_fds"])
	h.Heap = uint64(m["go_memstats_heap_alloc_bytes"])
	err = filepath.WalkDir(n.Files(), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err == nil {
			h.Disk += uint64(info.Size())
		}
		return ignoreGone(err)
	})
	if err != nil {
		n.t.Fatalf("%s: %v", n.Name, err)
	}
	return h
}

// ignoreGone is err unless a file went away while it was looked at.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
