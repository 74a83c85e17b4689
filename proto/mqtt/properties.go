package mqtt

// Properties is a validated property section without its length, as it stood
// in the packet. It borrows the packet's bytes. Typed getters and an iterator
// read it; Append functions build one.
type Properties []byte
