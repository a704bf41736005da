//go:build unix

package upload

import "syscall"

// newPage makes a page outside of Go's heap. The collector lets garbage grow by as much as is alive:
// with the pages on its heap, a budget of 256 MiB could cost the process 512.
func newPage() *Page {
	b, err := syscall.Mmap(-1, 0, PageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return new(Page) // out of maps, perhaps; the heap will say if there is no memory at all
	}
	return (*Page)(b)
}
