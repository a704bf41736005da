// Package chaos runs a whole installation while its parts fail, and judges what its clients saw.
//
// The story. On a stage of three gateways, Postgres, Redis and S3, clients sign in, work, hold streams,
// send files and sign out all the time, and some have their row deleted in psql. A nemesis lets one part
// after another fail, and sometimes two at once, and mends them. All of it is written into one history:
// what each client asked, when, where, and what came back; what failed when, and when all was well again.
// At the end the stage is left in peace and looked over: rows, files, and what the gateways hold.
//
// Then Check, which knows nothing but the history, says what must not have been: somebody let in after
// he had signed out, somebody turned away who was signed in, a session or a file lost, a gateway that
// stayed ill or grew. The rules are those of docs/operations.md ("When a part fails").
//
// What it never does: Check never looks at how the gateways work, and no rule is loosened because a
// fault was hard. What a rule excuses is what the table of that page says, and no more.
package chaos

import "time"

const (
	// stale is how long a session that was ended may be let in still. It needs no allowance for a slow
	// machine: a gateway answers from its memory for 2.75 s after it last sent a question that was
	// answered, a request that is let in began before that, and both the end and the beginning are taken
	// on the strict side, when the client had its answer and before it asked.
	stale = 3 * time.Second
	// recovery is how long after a fault was mended its traces may be seen.
	recovery = 5 * time.Second
	// patience is how long a client waits. Who asks a gateway that runs has an answer by then, whatever
	// fails behind it: a look-up is given up after three seconds, a sign-in or sign-out likewise in each
	// of its steps.
	patience = 15 * time.Second
	// filled is how long after the first answer about a session Redis surely has it.
	filled = time.Second
	// growth is how many more goroutines, and descriptors, a gateway may have after it all: its pools may
	// be full now (20 connections to Postgres, 20 to Redis, 32 to S3, those to the app with two goroutines
	// each) that were not in the beginning. What leaks with each failure leaks hundreds.
	growth = 150
	// grownMemory is how many bytes more it may hold, of its heap and in all. Its pools and buffers are full
	// by then, and Go gives back late what it has once had.
	grownMemory = 64 << 20
)
