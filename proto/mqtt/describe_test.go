package mqtt

import (
	"fmt"
	"reflect"
	"strings"
)

// describe is p in words, one field a line, without what is absent: what two
// packets that mean the same have in common.
func describe(p *Packet) string {
	var b strings.Builder
	b.WriteString(p.Kind.String())
	b.WriteByte('\n')
	if m := p.member(); m != nil {
		describeFields(&b, "", reflect.ValueOf(m).Elem())
	}
	return b.String()
}

// member is the part of p that its kind makes meaningful; nil for pings.
func (p *Packet) member() any {
	switch p.Kind {
	case CONNECT:
		return &p.Connect
	case CONNACK:
		return &p.Connack
	case PUBLISH:
		return &p.Publish
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return &p.Ack
	case SUBSCRIBE:
		return &p.Subscribe
	case SUBACK, UNSUBACK:
		return &p.Suback
	case UNSUBSCRIBE:
		return &p.Unsubscribe
	case DISCONNECT:
		return &p.Disconnect
	case AUTH:
		return &p.Auth
	}
	return nil
}

func describeFields(b *strings.Builder, indent string, v reflect.Value) {
	for i := range v.NumField() {
		name, field := v.Type().Field(i).Name, v.Field(i)
		if name == "Kind" || field.IsZero() || field.Kind() == reflect.Slice && field.Len() == 0 {
			continue
		}
		fmt.Fprintf(b, "%s\t%s", indent, name)
		switch x := field.Interface().(type) {
		case Will:
			b.WriteByte('\n')
			describeFields(b, indent+"\t", field)
			continue
		case []Subscription:
			b.WriteByte('\n')
			for _, s := range x {
				fmt.Fprintf(b, "%s\t\t%q QoS=%d NoLocal=%t RetainAsPublished=%t RetainHandling=%d\n",
					indent, s.Filter, s.QoS, s.NoLocal, s.RetainAsPublished, s.RetainHandling)
			}
			continue
		case Properties:
			b.WriteByte('\n')
			for p := range x.All() {
				fmt.Fprintf(b, "%s\t\t%v", indent, p.ID)
				switch propertyRules[p.ID].typ {
				case typePair:
					fmt.Fprintf(b, " %q %q\n", p.Name, p.Value)
				case typeString, typeBinary:
					fmt.Fprintf(b, " %q\n", p.Value)
				default:
					fmt.Fprintf(b, " %d\n", p.Number)
				}
			}
			continue
		case []byte, [][]byte:
			fmt.Fprintf(b, " %q\n", x)
		case Reason:
			fmt.Fprintf(b, " 0x%02X %v\n", uint8(x), x)
		case []Reason:
			for _, r := range x {
				fmt.Fprintf(b, " 0x%02X", uint8(r))
			}
			b.WriteByte('\n')
		default:
			fmt.Fprintf(b, " %v\n", x)
		}
	}
}

// meaning is describe without those properties that are fields as well, so that
// a packet built from fields compares with one that was decoded.
func meaning(p *Packet) string {
	q := *p
	switch q.Kind {
	case CONNECT:
		q.Connect.Properties = q.Connect.Properties.appendOnly(nil, users)
		q.Connect.Will.Properties = q.Connect.Will.Properties.AppendApplication(nil)
	case CONNACK:
		q.Connack.Properties = q.Connack.Properties.appendOnly(nil, users)
	case PUBLISH:
		q.Publish.Properties = q.Publish.Properties.AppendApplication(nil)
	case SUBSCRIBE:
		q.Subscribe.Properties = q.Subscribe.Properties.appendOnly(nil, users)
	case DISCONNECT:
		q.Disconnect.Properties = q.Disconnect.Properties.appendOnly(nil, users)
	case AUTH:
		q.Auth.Properties = q.Auth.Properties.appendOnly(nil, users)
	}
	return describe(&q)
}
