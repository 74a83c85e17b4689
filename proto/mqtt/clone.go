package mqtt

// keeper copies the borrowed slices of one packet into one piece of memory.
type keeper []byte

// keep returns a copy of s. Absent, which is nil, stays absent.
func (k *keeper) keep(s []byte) []byte {
	if s == nil {
		return nil
	}
	start := len(*k)
	*k = append(*k, s...)
	return (*k)[start:len(*k):len(*k)]
}

func newKeeper(fields ...[]byte) keeper {
	size := 0
	for _, s := range fields {
		size += len(s)
	}
	return make(keeper, 0, size)
}

// Clone returns a copy of c that owns its bytes.
func (c *Connect) Clone() *Connect {
	out := *c
	w := &out.Will
	k := newKeeper(c.ClientID, c.Username, c.Password, c.AuthMethod, c.AuthData, c.Properties, w.Topic, w.Payload, w.Properties)
	for _, s := range []*[]byte{
		&out.ClientID, &out.Username, &out.Password, &out.AuthMethod, &out.AuthData,
		(*[]byte)(&out.Properties), &w.Topic, &w.Payload, (*[]byte)(&w.Properties),
	} {
		*s = k.keep(*s)
	}
	return &out
}

// Clone returns a copy of p that owns its bytes.
func (p *Publish) Clone() *Publish {
	out := *p
	k := newKeeper(p.Topic, p.Payload, p.Properties)
	out.Topic, out.Payload, out.Properties = k.keep(p.Topic), k.keep(p.Payload), k.keep(p.Properties)
	out.SubscriptionIDs = append([]uint32(nil), p.SubscriptionIDs...)
	return &out
}

// Clone returns a copy of s that owns its bytes.
func (s *Subscribe) Clone() *Subscribe {
	out := *s
	size := len(s.Properties)
	for i := range s.Filters {
		size += len(s.Filters[i].Filter)
	}
	k := make(keeper, 0, size)
	out.Properties = k.keep(s.Properties)
	out.Filters = append([]Subscription(nil), s.Filters...)
	for i := range out.Filters {
		out.Filters[i].Filter = k.keep(out.Filters[i].Filter)
	}
	return &out
}

// Clone returns a copy of u that owns its bytes.
func (u *Unsubscribe) Clone() *Unsubscribe {
	out := *u
	size := len(u.Properties)
	for _, filter := range u.Filters {
		size += len(filter)
	}
	k := make(keeper, 0, size)
	out.Properties = k.keep(u.Properties)
	out.Filters = append([][]byte(nil), u.Filters...)
	for i, filter := range out.Filters {
		out.Filters[i] = k.keep(filter)
	}
	return &out
}

// Clone returns a copy of a that owns its bytes.
func (a *Auth) Clone() *Auth {
	out := *a
	k := newKeeper(a.Method, a.Data, a.ReasonString, a.Properties)
	out.Method, out.Data = k.keep(a.Method), k.keep(a.Data)
	out.ReasonString, out.Properties = k.keep(a.ReasonString), k.keep(a.Properties)
	return &out
}
