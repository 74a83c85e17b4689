package feed

import (
	"testing"

	"dunlin/router"
)

// FuzzChanges: what a peer tells is an error, or what packs to the same.
func FuzzChanges(f *testing.F) {
	body := AppendChange(nil, router.Change{Op: router.AddExact, Fingerprint: 77})
	body = AppendChange(body, router.Change{Op: router.AddWildcard, Filter: "a/+"})
	f.Add(AppendChange(body, router.Change{Op: router.SetGroup, Filter: "$share/g/a", Members: 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		cs, err := ReadChanges(b, nil)
		if err != nil {
			return
		}
		var again []byte
		for _, c := range cs {
			again = AppendChange(again, c)
		}
		if more, err := ReadChanges(again, nil); err != nil || len(more) != len(cs) {
			t.Fatalf("%v became %v, %v", cs, more, err)
		}
	})
}
