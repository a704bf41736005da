#!/usr/bin/env bash
# prove.sh STAGE...: run the stages of the proof (lint, unit, chaos, fuzz, e2e) and print one summary.
#
# It fails if anything failed, was skipped, or did not run: a stage that counts nothing counts as a
# failure. The last line is "N passed, N failed, N skipped". Whatever a stage started and left behind
# is stopped at the end, also after Ctrl-C or a failure.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
. test/ci/env.sh

FUZZTIME=${FUZZTIME:-5s}

# All that the stages start gets this folder as TMPDIR: that is how it is found again at the end.
# Others than root write here too (Postgres refuses to run as root), so it has the mode of /tmp.
work=$(mktemp -d "${TMPDIR:-/tmp}/gate.XXXXXX")
chmod 1777 "$work"
results=$work/results
: >"$results"
export TMPDIR=$work
stage_pid=

# count STAGE PASSED FAILED SKIPPED
count() { printf '%s %d %d %d\n' "$@" >>"$results"; }

# check STAGE NAME COMMAND...: a command that is one check; its output is shown if it fails.
check() {
  local stage=$1 name=$2 out
  shift 2
  if out=$("$@" 2>&1 </dev/null); then
    echo "  ok    $name"
    count "$stage" 1 0 0
    return
  fi
  printf '%s\n  FAIL  %s\n' "$out" "$name"
  count "$stage" 0 1 0
}

lint() {
  check lint "golangci-lint" golangci-lint run --timeout 20m ./...
  check lint "go.mod is tidy" go mod tidy -diff
  check lint "shell scripts" shellcheck .ci/run test/ci/*.sh test/chaos/*.sh
  check lint "workflows" actionlint .github/workflows/*.yml
  # A tag can be moved to other code; a commit cannot.
  check lint "actions of workflows are named by commit" \
    sh -c '! grep -nE "uses: " .github/workflows/*.yml | grep -vE "uses: (\./|[a-z/-]+@[0-9a-f]{40} # v)"'
  check lint "no registry's address in package-lock.json" sh -c '! grep -n "\"resolved\"" test/e2e/package-lock.json'
}

unit() {
  local failed=0 packages
  # The fault campaign is a stage of its own: a machine that is busy with other tests would be its fault.
  mapfile -t packages < <(go list ./... | grep -v '/test/chaos$')
  go_tests unit pkgname -race -shuffle=on -timeout 20m "${packages[@]}" || failed=1
  # The race detector makes pools forget, so what a request allocates is counted without it.
  go_tests unit pkgname -run Alloc ./auth ./proxy ./store || failed=1
  return "$failed"
}

# The short form of the campaign, and the tests of its judge.
chaos() {
  go_tests chaos standard-quiet -race -timeout 10m ./test/chaos
}

# go_tests STAGE FORMAT ARGUMENT...: what go test does with these, counted, and shown in that format.
go_tests() {
  local stage=$1 format=$2
  shift 2
  # gotestsum hands its totals to this command; a package that does not compile is an "error".
  # shellcheck disable=SC2016 # the variables are for that command's shell
  gotestsum --format "$format" --format-hide-empty-pkg \
    --post-run-command 'sh -c "echo '"$stage"' $((TESTS_TOTAL-TESTS_FAILED-TESTS_SKIPPED)) $((TESTS_FAILED+TESTS_ERRORS)) $TESTS_SKIPPED >>'"$results"'"' \
    -- -count=1 "$@" </dev/null
}

fuzz() {
  local file name
  while IFS=: read -r file name; do
    fuzz_one "./$(dirname "$file")" "$name"
  done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' auth cmd proxy store upload web 2>/dev/null | sed 's/func //')
}

# fuzz_one PACKAGE TARGET. Go's fuzzer now and then reports its own deadline as a failure of the
# target (golang/go#75804); a real one names the input that it wrote. Only the former is run again.
# Whatever reaches new code is made smaller for up to a minute, which would eat all of a short run: an
# input gets ten tries for that.
fuzz_one() {
  local out try
  for try in 1 2 3; do
    if out=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 10x -timeout 5m "$1" 2>&1 </dev/null); then
      echo "  ok    $2: $(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1)"
      count fuzz 1 0 0
      return
    fi
    if grep -q 'Failing input' <<<"$out" || ! grep -q 'context deadline exceeded' <<<"$out"; then
      break
    fi
    echo "  again $2: the fuzzer's own deadline, try $try"
  done
  printf '%s\n  FAIL  %s\n' "$out" "$2"
  count fuzz 0 1 0
}

e2e() {
  # Built with the race detector too: what the browser does concurrently is judged as well.
  go build -race -o "$work/gatehouse" ./cmd/gatehouse || return
  (
    cd test/e2e &&
      GATEHOUSE=$work/gatehouse timeout -k 10 1200 node --test --test-concurrency=1 --test-timeout=180000 \
        --test-reporter=spec --test-reporter-destination=stdout \
        --test-reporter=./tally.mjs --test-reporter-destination="$work/e2e.count" ./*.test.mjs </dev/null
  )
  # shellcheck disable=SC2046 # three numbers
  [ ! -s "$work/e2e.count" ] || count e2e $(cat "$work/e2e.count")
}

# left prints the ids of the processes that the stages left running.
left() {
  local p
  # Our own two programs get another TMPDIR, or they would find themselves.
  TMPDIR=/tmp grep -lsF -- "TMPDIR=$work" /proc/[0-9]*/environ | TMPDIR=/tmp cut -d/ -f3
  for p in /proc/[0-9]*; do
    case $(readlink "$p/cwd" 2>/dev/null) in "$work"/*) basename "$p" ;; esac
  done
}

stop_all() {
  trap '' INT TERM
  [ -z "$stage_pid" ] || kill "$stage_pid" 2>/dev/null
  local signal
  for signal in TERM KILL; do
    # shellcheck disable=SC2046 # ids, one a word
    kill -s "$signal" $(left) 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      [ -n "$(left)" ] || break
      sleep 0.3
    done
  done
  rm -rf "$work"
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

for stage in "$@"; do
  printf '\n== %s\n' "$stage"
  SECONDS=0
  "$stage" & # in the background, so that a signal is not kept waiting until the stage is over
  stage_pid=$!
  wait "$stage_pid"
  status=$?
  stage_pid=
  # A stage that failed must have counted a failure, and one that ran must have counted something.
  if ! grep -q "^$stage " "$results" || { [ "$status" -ne 0 ] && ! awk -v s="$stage" '$1==s{f+=$3+$4} END{exit !f}' "$results"; }; then
    echo "  FAIL  $stage did not run to its end"
    count "$stage" 0 1 0
  fi
  echo "   ($stage: $SECONDS s)"
done

check cleanup "nothing left running" test -z "$(sleep 1; left)"

printf '\n== summary\n'
awk '{p[$1]+=$2; f[$1]+=$3; s[$1]+=$4; if (!n[$1]++) order[++k]=$1}
  END {for (i=1; i<=k; i++) printf "  %-12s %5d passed %4d failed %4d skipped\n", order[i], p[order[i]], f[order[i]], s[order[i]]}' "$results"
awk '{p+=$2; f+=$3; s+=$4} END {printf "\n%d passed, %d failed, %d skipped\n", p, f, s; exit f+s>0}' "$results"
