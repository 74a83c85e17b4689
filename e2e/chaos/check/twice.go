package check

// twice (P2): no message of QoS 2 comes twice to the application of a session,
// nor one of QoS 0, unknown publishes and moves included. The replay of a
// retained message, which a SUBSCRIBE asks for anew, is no repeat.
func twice(w *world) []Violation {
	r := report{rule: "twice"}
	for _, l := range w.lives {
		count := make(map[string]int)
		for _, d := range l.delivered {
			p := w.published[d.Payload]
			if p == nil || p.QoS == 1 || d.QoS == 1 || !d.Fresh || p.Retain && d.Retain {
				continue
			}
			if count[d.Payload]++; count[d.Payload] == 2 {
				r.add("%q of QoS %d came again to %s, on connection %d to %s after %v", d.Payload, p.QoS, l.client, d.Conn, d.Node, d.Invoke)
			}
		}
	}
	return r.sorted()
}
