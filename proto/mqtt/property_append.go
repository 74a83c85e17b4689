package mqtt

// AppendPayloadFormat appends a payload format indicator: UTF-8 or bytes.
func (ps Properties) AppendPayloadFormat(text bool) Properties {
	return appendBool(ps, PropPayloadFormat, text)
}

// AppendContentType appends a content type.
func (ps Properties) AppendContentType(s string) Properties {
	return appendText(ps, PropContentType, s)
}

// AppendResponseTopic appends a response topic, which has no wildcards.
func (ps Properties) AppendResponseTopic(topic string) Properties {
	return appendText(ps, PropResponseTopic, topic)
}

// AppendCorrelationData appends correlation data.
func (ps Properties) AppendCorrelationData(data []byte) Properties {
	return appendText(ps, PropCorrelationData, data)
}

// AppendReasonString appends a reason string.
func (ps Properties) AppendReasonString(s string) Properties {
	return appendText(ps, PropReasonString, s)
}

// AppendUserProperty appends a user property.
func (ps Properties) AppendUserProperty(name, value string) Properties {
	return appendString(appendText(ps, PropUser, name), value)
}

// Sets of properties, as bits 1<<PropertyID.
const (
	users = 1 << PropUser
	// application are the properties of a message that belong to the applications
	// and that a server forwards unaltered (3.3.2.3).
	application = users | 1<<PropPayloadFormat | 1<<PropContentType | 1<<PropResponseTopic | 1<<PropCorrelationData
)

// AppendApplication appends what of a PUBLISH's or a will's section belongs to
// the applications; alias, expiry, delay and subscription identifiers stay out.
func (ps Properties) AppendApplication(dst []byte) []byte { return ps.appendOnly(dst, application) }

// appendOnly appends the properties in ids; the user properties alone where
// everything else is a field of the packet.
func (ps Properties) appendOnly(dst []byte, ids uint64) []byte {
	if ps.sizeOnly(ids) == len(ps) {
		return append(dst, ps...) // as a rule
	}
	for len(ps) > 0 {
		size, err := ps.head()
		if err != nil {
			break
		}
		if ids&(1<<ps[0]) != 0 {
			dst = append(dst, ps[:size]...)
		}
		ps = ps[size:]
	}
	return dst
}

// sizeOnly is how many bytes appendOnly appends.
func (ps Properties) sizeOnly(ids uint64) (sum int) {
	for len(ps) > 0 {
		size, err := ps.head()
		if err != nil {
			break
		}
		if ids&(1<<ps[0]) != 0 {
			sum += size
		}
		ps = ps[size:]
	}
	return sum
}

func appendByte(dst []byte, id PropertyID, n byte) []byte { return append(dst, byte(id), n) }

func appendBool(dst []byte, id PropertyID, b bool) []byte {
	if b {
		return append(dst, byte(id), 1)
	}
	return append(dst, byte(id), 0)
}

func appendUint16(dst []byte, id PropertyID, n uint16) []byte {
	return append(dst, byte(id), byte(n>>8), byte(n))
}

func appendUint32(dst []byte, id PropertyID, n uint32) []byte {
	return append(dst, byte(id), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func appendText[S ~string | ~[]byte](dst []byte, id PropertyID, s S) []byte {
	return appendString(append(dst, byte(id)), s)
}
