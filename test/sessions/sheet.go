package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// sheet is the figures: a line for each task, a column for each size.
type sheet struct {
	head  []string
	tasks []string
	cells map[string][]string
}

func (s *sheet) column(size int) { s.head = append(s.head, fmt.Sprintf("%d sessions", size)) }

func (s *sheet) cell(task, text string) {
	if s.cells == nil {
		s.cells = map[string][]string{}
	}
	if !slices.Contains(s.tasks, task) {
		s.tasks = append(s.tasks, task)
	}
	s.cells[task] = append(s.cells[task], text)
}

func (s *sheet) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\t"+strings.Join(s.head, "\t"))
	for _, task := range s.tasks {
		fmt.Fprintln(table, task+"\t"+strings.Join(s.cells[task], "\t"))
	}
	return table.Flush()
}

// quantiles is the median and the 99th percentile of what was timed.
func quantiles(times []time.Duration) string {
	slices.Sort(times)
	at := func(share int) time.Duration { return times[min(len(times)*share/100, len(times)-1)] }
	return fmt.Sprintf("p50 %s, p99 %s", brief(at(50)), brief(at(99)))
}

// perSecond is how many rows went in some time, and how long that was.
func perSecond(rows int, d time.Duration) string {
	return fmt.Sprintf("%s, %.0f rows/s", brief(d), float64(rows)/d.Seconds())
}

// brief is a duration to three figures.
func brief(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.3g s", d.Seconds())
}
