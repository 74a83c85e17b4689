package raftstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"dunlin/router"
)

// Case 36: who fights over an identifier is refused for a while, whoever holds it
// keeps it, and nobody else notices.
func TestContention(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.owner.answer = func(done func()) { done() }
		claim := func(id string, conn int) error {
			return b.do(Claim{ClientID: id, Conn: router.Subscriber(conn), Expiry: 60}).Err
		}
		conn := 1
		for ; conn <= 1+10; conn++ {
			expect(b, fmt.Sprint("claim ", conn), claim("c", conn), nil)
		}
		evicted := len(b.owner.evicted)
		for range 100 {
			conn++
			expect(b, "takeover too many", claim("c", conn), ErrContended)
		}
		expect(b, "evictions", len(b.owner.evicted), evicted)
		for i := range 3 {
			expect(b, "others", claim("d", 1000+i), nil)
		}
		b.sleep(9 * time.Second)
		expect(b, "still", claim("c", conn), ErrContended)
		b.sleep(2 * time.Second)
		conn++
		expect(b, "cooled down", claim("c", conn), nil)

		for i := range 11 {
			claim("c", 2000+i)
		}
		b.do(Delete{ClientID: "c"})
		expect(b, "taken from nobody", claim("c", 3000), nil)
	})
}

// P10: an attacker with many identifiers, and long ones, costs no more memory than so many.
func TestContentionIsBounded(t *testing.T) {
	c := newContention(1)
	before, long := inUse(), bytes.Repeat([]byte("x"), 16<<10)
	for i := range 3 * maxContended {
		binary.LittleEndian.PutUint64(long, uint64(i))
		for range 3 {
			c.refuses(long, 1)
		}
	}
	if now := inUse(); now > before+4<<20 {
		t.Errorf("%d bytes are held", now-before)
	}
	if len(c.counts) > maxContended || len(c.cooling) > maxContended {
		t.Errorf("%d counted, %d cooling", len(c.counts), len(c.cooling))
	}
	expect(t, "much later", c.refuses([]byte("x"), 1+contentionWindow), false)
	expect(t, "counted", len(c.counts), 1)
}

// inUse is what is in use of the heap after a collection.
func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A claim that is asked for again, since its answer was lost, evicts nobody: its
// connection owns the session.
func TestClaimAskedAgainHasNoRival(t *testing.T) {
	sh := newManual(DefaultOptions())
	claim := Claim{ClientID: "c", Conn: 5, Expiry: 60, by: claimant{node: 2, start: 1, number: 1, low: 1}}
	expect(t, "claim", sh.do(claim).Err, nil)
	_, body := claim.encode(nil, nil)
	expect(t, "again", sh.mustEvict(body, nil), false)
	claim.Conn, claim.by.number = 6, 2
	_, body = claim.encode(nil, nil)
	expect(t, "another", sh.mustEvict(body, nil), true)
}
