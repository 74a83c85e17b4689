package fault

import (
	"bytes"
	"errors"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestDamage: each damages one file and is repeated by its seed.
func TestDamage(t *testing.T) {
	whole := bytes.Repeat([]byte{0xA5}, 1000)
	for _, d := range []Damage{BitFlip, Truncation, Missing} {
		t.Run(d.Name, func(t *testing.T) {
			var names []string
			for range 2 {
				dir := t.TempDir()
				for _, name := range []string{"a", "b", "empty"} {
					b := whole
					if name == "empty" {
						b = nil
					}
					if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				name, err := d.Apply(rand.New(rand.NewPCG(7, 0)), dir)
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, name)
				spoilt := 0
				for _, name := range []string{"a", "b"} {
					b, err := os.ReadFile(filepath.Join(dir, name))
					flipped := 0
					for i := range b {
						flipped += bits.OnesCount8(b[i] ^ whole[i])
					}
					ok := map[string]bool{
						"bit flip": flipped == 1 && len(b) == 1000, "truncation": len(b) < 1000 && flipped == 0 && err == nil,
						"missing file": errors.Is(err, os.ErrNotExist),
					}[d.Name]
					if ok {
						spoilt++
					} else if !bytes.Equal(b, whole) {
						t.Errorf("%s has %d bytes, %d bits are other ones, %v", name, len(b), flipped, err)
					}
				}
				if spoilt != 1 {
					t.Errorf("%d files are damaged", spoilt)
				}
			}
			if names[0] != names[1] {
				t.Errorf("the same seed damages %v", names)
			}
		})
	}
}
