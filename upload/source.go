package upload

import "io"

const (
	windowSize = 256 << 10 // bytes that are read at once, and so the most that can be left behind a boundary
	storeSize  = 4 << 10   // bytes, to begin with: enough for the heads
	emptyReads = 100       // as bufio has it: then the reader is broken
)

// source is what a form reads from, and what was read too early.
type source struct {
	src   io.Reader
	err   error  // of src, which is not asked again afterwards
	store []byte // what was read and not handed out lies from r to w
	r, w  int
}

// have is what was read and not handed out, until more is read.
func (s *source) have() []byte { return s.store[s.r:s.w] }

// ask reads into b from src itself, once. That it read nothing has its reason in err.
func (s *source) ask(b []byte) (n int) {
	for tries := 0; n == 0 && s.err == nil; tries++ {
		if n, s.err = s.src.Read(b); tries == emptyReads {
			s.err = io.ErrNoProgress
		}
	}
	return n
}

// fill reads more into the store.
func (s *source) fill() {
	if s.w == len(s.store) {
		size := len(s.store)
		if s.r < size/2 {
			size *= 2
		}
		s.grow(size)
	}
	s.w += s.ask(s.store[s.w:])
}

// grow makes room for size bytes in all, behind what the store has.
func (s *source) grow(size int) {
	have := s.have()
	if size > len(s.store) {
		s.store = make([]byte, size)
	}
	s.r, s.w = 0, copy(s.store, have)
}

// keep makes b all that the store has.
func (s *source) keep(b []byte) {
	if len(b) > len(s.store) {
		s.store = make([]byte, len(b))
	}
	s.r, s.w = 0, copy(s.store, b)
}
