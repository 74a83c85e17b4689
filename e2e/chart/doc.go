// Package chart installs the Helm chart on a real Kubernetes and breaks what runs there, while clients that come by the
// Service record what they see; the checkers of e2e/chaos judge it. Then it types what docs/kubernetes.md says. It has tests
// only, which are skipped unless DUNLIN_LAB names a program that can stop machines and cut their network (make e2e-chart).
package chart
