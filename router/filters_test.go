package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A list of filters does what a slice of them does, and what it gave out stays as it was.
func TestFiltersAreLikeASlice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var list Filters
	var slice, given []Filter
	var texts []string // of given
	forms := []string{"a/%d", "a/%d/+", "$share/g%d/b", "$share/g/%d/#", strings.Repeat("long/", 50) + "%d"}
	for range 3000 {
		text := fmt.Sprintf(forms[rng.IntN(len(forms))], rng.IntN(20))
		f, err := ParseFilter([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if list.Has(f) != slices.Contains(slice, f) {
			t.Fatalf("%s: there is %v", text, list.Has(f))
		}
		gone := func(x Filter) bool { return x == f }
		if slices.Contains(slice, f) {
			list.Delete(gone)
			slice = slices.DeleteFunc(slice, gone)
		} else {
			list.Add(f)
			slice = append(slice, f)
		}
		got := slices.Collect(list.All())
		if !slices.Equal(got, slice) || list.Len() != len(slice) {
			t.Fatalf("%v instead of %v", got, slice)
		}
		for _, f := range got[:min(len(got), 3)] {
			given, texts = append(given, f), append(texts, strings.Clone(f.String()))
		}
	}
	for i, f := range given {
		if f.String() != texts[i] {
			t.Fatalf("%q became %q", texts[i], f)
		}
	}
}
