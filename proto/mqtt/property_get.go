package mqtt

import "iter"

// All yields the properties in the order in which they were sent.
func (ps Properties) All() iter.Seq[Property] {
	return func(yield func(Property) bool) {
		var p Property
		for len(ps) > 0 {
			rest, err := p.next(ps)
			if err != nil || !yield(p) {
				return
			}
			ps = rest
		}
	}
}

// UserProperties yields name and value of the user properties in the order in
// which they were sent, which is part of their meaning [MQTT-3.3.2-18].
func (ps Properties) UserProperties() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for p := range ps.All() {
			if p.ID == PropUser && !yield(p.Name, p.Value) {
				return
			}
		}
	}
}

// find returns the first property called id.
func (ps Properties) find(id PropertyID) (p Property, ok bool) {
	for len(ps) > 0 {
		rest, err := p.next(ps)
		if err != nil {
			break
		}
		if p.ID == id {
			return p, true
		}
		ps = rest
	}
	return Property{}, false
}

// PayloadFormat says what the payload is promised to be: UTF-8, or any bytes.
func (ps Properties) PayloadFormat() (text, ok bool) {
	p, ok := ps.find(PropPayloadFormat)
	return p.Number == 1, ok
}

// ContentType is a MIME type, or whatever the applications agreed upon.
func (ps Properties) ContentType() (value []byte, ok bool) { return ps.value(PropContentType) }

// ResponseTopic is the topic name for an answer.
func (ps Properties) ResponseTopic() (value []byte, ok bool) { return ps.value(PropResponseTopic) }

// CorrelationData tells the asker which question an answer is for.
func (ps Properties) CorrelationData() (value []byte, ok bool) {
	return ps.value(PropCorrelationData)
}

// ReasonString is a diagnostic for people.
func (ps Properties) ReasonString() (value []byte, ok bool) { return ps.value(PropReasonString) }

func (ps Properties) value(id PropertyID) (value []byte, ok bool) {
	p, ok := ps.find(id)
	return p.Value, ok
}
