package limit

// flap is what is remembered of a user's client identifier that connects.
type flap struct {
	began  int64  // the window
	until  int64  // it is banned
	counts uint32 // connects in the window
}

// calm says that a flap's window and ban are over.
func (d *Door) calm(f flap, now int64) bool {
	return f.until <= now && now-f.began >= int64(d.o.FlappingWindow)
}

// isFlapping says whether the client identifier is banned under that user's name.
func (d *Door) isFlapping(name, clientID string, now int64) bool {
	f, p := d.flaps.find(d.flaps.keyOfNames(name, clientID))
	p.put(f, now)
	return p.there && f.until > now
}

// flapped counts a connect of a client that is known, and says whether that was one too
// many. The identifier is the user's own: another user's clients do not count.
func (d *Door) flapped(name, clientID string, now int64) bool {
	f, p := d.flaps.take(d.flaps.keyOfNames(name, clientID), now)
	if !p.alone {
		p.put(f, now)
		return false // it would be banned for what others do
	}
	if d.calm(f, now) {
		f = flap{began: now}
	}
	f.counts++
	banned := f.until > now
	begins := !banned && int(f.counts) > d.o.Flapping
	if begins {
		f.until = now + int64(d.o.FlappingBan)
	}
	p.put(f, now)
	if begins && d.flapLog.take(now) {
		d.o.Log.Warn("a client connects too often and is banned for a while", "client", clientID, "user", name,
			"connects", f.counts, "for", d.o.FlappingBan)
	}
	return banned || begins
}
