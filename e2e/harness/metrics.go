package harness

import (
	"bufio"
	"strconv"
	"strings"
)

// Metrics scrapes the node: the sum over the labels of each name.
func (n *Node) Metrics() map[string]float64 {
	n.t.Helper()
	text, err := n.get("/metrics")
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
