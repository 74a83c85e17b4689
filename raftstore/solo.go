package raftstore

// solo is the driver of a shard with a single replica, in memory: what is
// proposed is committed.
type solo struct {
	sh     *shard
	commit func(entry []byte) // hook of the tests, before the entry is applied
}

// newSolo makes sh lead.
func newSolo(sh *shard) *solo {
	d := &solo{sh: sh}
	sh.driver = d
	sh.lead(sh.st.now, 1)
	sh.guests.admit(true)
	return d
}

func (d *solo) room() bool { return true }

func (d *solo) head(*proposal) entryHead { return entryHead{time: d.sh.proposed} }

func (d *solo) propose(p *proposal) {
	if d.commit != nil {
		d.commit(p.entry)
	}
	d.sh.applied(p.entry, p)
}

func (d *solo) events() <-chan func() { return nil }
