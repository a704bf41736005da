//go:build !unix

package upload

// newPage makes a page.
func newPage() *Page { return new(Page) }
