package load

import (
	"cmp"
	"maps"
	"slices"
)

// failures counts what went wrong by kind. The zero value is empty.
type failures struct {
	kinds map[[2]string]*Failure
	total uint64
}

// add counts one; example is called only if it is the first of its kind.
func (f *failures) add(what, why string, example func() string) {
	f.put(Failure{What: what, Why: why, Count: 1}, example)
}

// merge adds what another has counted.
func (f *failures) merge(all []Failure) {
	for _, o := range all {
		f.put(o, func() string { return o.Example })
	}
}

func (f *failures) put(o Failure, example func() string) {
	f.total += o.Count
	key := [2]string{o.What, o.Why}
	if f.kinds == nil {
		f.kinds = map[[2]string]*Failure{}
	}
	if f.kinds[key] == nil && len(f.kinds) >= MaxFailures-1 {
		o.What, o.Why = "other", "more kinds than are kept"
		key = [2]string{o.What, o.Why}
	}
	if f.kinds[key] == nil {
		o.Example = example()
		f.kinds[key] = &o
		return
	}
	f.kinds[key].Count += o.Count
}

// list is all, most frequent first.
func (f *failures) list() []Failure {
	var all []Failure
	for k := range maps.Values(f.kinds) {
		all = append(all, *k)
	}
	slices.SortFunc(all, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.What, b.What), cmp.Compare(a.Why, b.Why))
	})
	return all
}
