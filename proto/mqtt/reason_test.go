package mqtt

import "testing"

// The standard's list of reason codes: each has a name and a packet that
// carries it, and there are no others.
func TestReasons(t *testing.T) {
	named := 0
	for i := range 256 {
		r := Reason(i)
		if has := i < len(reasonNames) && reasonNames[i] != ""; has != (reasonsIn[r] != 0) {
			t.Errorf("0x%02X has a name: %t; stands in packets 0x%04X", i, has, reasonsIn[r])
		} else if has {
			named++
		}
		if r.String() == "" || r.Failed() != (i >= 0x80) {
			t.Errorf("0x%02X is %q, failed %t", i, r, r.Failed())
		}
		if code, ok := r.ReturnCode(); ok && (r == Success) != (code == 0) {
			t.Errorf("0x%02X has return code %d", i, code)
		}
	}
	if named != 43 {
		t.Errorf("%d reason codes, the standard has 43", named)
	}
	for code, r := range returnCodes {
		if got, ok := r.ReturnCode(); !ok || int(got) != code {
			t.Errorf("return code %d is read as %v and written as %d", code, r, got)
		}
	}
	if got := (&Connack{Reason: TopicNameInvalid}).Append(nil, V311); len(got) != 0 {
		t.Errorf("a reason without return code is answered with %x", got)
	}
}

// What DISCONNECT may say: the standard's table 3-10, and 0x8C, which is in 2-6.
func TestReasonsOfDisconnect(t *testing.T) {
	said := map[Reason]bool{0x00: true, 0x04: true, 0x87: true, 0x89: true, 0x8B: true, 0x8C: true}
	for _, span := range [...][2]Reason{{0x80, 0x83}, {0x8D, 0x90}, {0x93, 0xA2}} {
		for r := span[0]; r <= span[1]; r++ {
			said[r] = true
		}
	}
	for i := range 256 {
		if r := Reason(i); r.in(DISCONNECT) != said[r] {
			t.Errorf("0x%02X in DISCONNECT: %t, want %t", i, r.in(DISCONNECT), said[r])
		}
	}
}
