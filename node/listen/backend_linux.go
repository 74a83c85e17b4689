package listen

func backendFor(o Options) backend {
	if o.Portable {
		return goroutines{}
	}
	return epolls{}
}
