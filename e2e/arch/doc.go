// Package arch holds the source to the floor plan: which package may import
// which, what pure packages may touch, how packages are described, and that
// generated files are current. It has tests only.
package arch
