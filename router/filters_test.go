package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A packed list of filters has what a slice of them has, in the same order.
func TestFiltersAreLikeASlice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	forms := []string{"a/%d", "a/%d/+", "$share/g%d/b", "$share/g/%d/#", strings.Repeat("long/", 50) + "%d"}
	var packed []byte
	var slice []Filter
	for range 200 {
		text := fmt.Sprintf(forms[rng.IntN(len(forms))], rng.IntN(50))
		f, err := ParseFilter([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		list := Filters(packed)
		if got := slices.Collect(list.All()); !slices.Equal(got, slice) {
			t.Fatalf("%v instead of %v", got, slice)
		}
		if list.Has(f) != slices.Contains(slice, f) {
			t.Fatalf("%s: there is %v", text, list.Has(f))
		}
		if !list.Has(f) {
			packed = AppendFilter(packed, f)
			slice = append(slice, f)
		}
	}
}

// To go through a list makes no garbage.
func TestFiltersMakeNoGarbage(t *testing.T) {
	var packed []byte
	for i := range 10 {
		f, err := ParseFilter(fmt.Append(nil, "some/filter/", i, "/#"))
		if err != nil {
			t.Fatal(err)
		}
		packed = AppendFilter(packed, f)
	}
	list, bytes := Filters(packed), 0
	if n := testing.AllocsPerRun(100, func() {
		for f := range list.All() {
			bytes += len(f.String())
		}
	}); n > 0 {
		t.Errorf("%.0f allocations", n)
	}
}
