// Package charts holds the Helm chart of Dunlin to what it promises, without a cluster: it renders the chart with
// Helm's own engine for the values in testdata/values and for wrong ones, has kubeconform judge what comes out by the schemas
// in testdata/schemas, decodes it as strictly as the API server, evaluates Pod Security, and has the broker check the
// configuration that its pods would see. It has tests only, in a module of its own, so that Helm and Kubernetes stay out of
// the broker's.
package charts
