package chaos

import (
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

// A disk that is full is had without a disk: a process may be forbidden to write beyond the beginning of
// any file (RLIMIT_FSIZE), by whoever may signal it, and it then sees its writes fail as on a full disk, but
// for the number of the error (EFBIG instead of ENOSPC). Mounting a small file system needs rights that
// few machines for tests give.

// fillPostgres lets no process of the server write. Its log of transactions cannot go on, so it ends
// its connections and at last itself, as Postgres does on a full disk.
func (n *nemesis) fillPostgres(int) {
	out, err := n.stage.Psql(n.t.Context(), "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
	if err != nil {
		n.t.Error(err)
	}
	for pid := range strings.FieldsSeq(out) {
		limit(pid, "0")
	}
}

// fillRedis lets it save no snapshot, after which it takes no write (MISCONF).
func (n *nemesis) fillRedis(int) {
	n.stage.Redis.Do(`CONFIG SET save "3600 1"`)
	limit(n.redisPID(), "0")
	stage.Wait(n.t, "Redis refuses writes", func() bool {
		n.stage.Redis.Do("BGSAVE") // which may wait for another, or be over only when it was asked for
		return strings.HasPrefix(n.stage.Redis.Do("SET probe 1"), "-MISCONF")
	})
}

func (n *nemesis) emptyRedis(int) {
	n.stage.Redis.Do(`CONFIG SET save ""`)
	limit(n.redisPID(), "unlimited")
	n.stage.Redis.Do("BGSAVE")
}

func (n *nemesis) redisPID() string {
	_, after, _ := strings.Cut(n.stage.Redis.Do("INFO server"), "process_id:")
	pid, _, _ := strings.Cut(after, "\r\n")
	return pid
}

// limit bounds how long files of a process may be. It is done as the user whose process it is, which needs no
// right that root lacks in a container. One that has ended meanwhile needs none.
func limit(pid, most string) {
	cmd := exec.Command("prlimit", "--pid", pid, "--fsize="+most+":") //nolint:gosec,noctx // a number, and gone at once
	if owner, err := os.Stat("/proc/" + pid); err == nil {
		if sys, ok := owner.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Getuid() {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: sys.Uid, Gid: sys.Gid}}
		}
	}
	_ = cmd.Run()
}
