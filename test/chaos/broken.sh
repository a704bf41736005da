#!/usr/bin/env bash
# broken.sh: builds that are broken on purpose, each of which the fault campaign has to catch. It fails if
# one is not caught. The work tree stays as it is: the changes are made to a copy.
#
# Only those faults are let happen by which a break can show; all of them are part of `make chaos`.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/ci/env.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# caught PATCH RULE FAULTS: what the campaign must find in a build with that patch.
caught() {
  local patch=$1 rule=$2 faults=$3 tree=$work/$1
  mkdir "$tree"
  cp -r go.mod go.sum auth cmd proxy store upload web "$tree"
  patch -d "$tree" -p1 <"test/chaos/testdata/$patch.patch"
  printf '\n== %s: %s\n' "$patch" "$rule"
  go test -count=1 -timeout 20m -v -run TestCampaign ./test/chaos -args \
    -build= -tree="$tree" -only="$faults" -expect="$rule" -for="${FOR:-60s}"
}

# The process tier answers without a lease that runs.
caught lease "an ended session is let in" "Postgres silent to one"
# A burial in Redis is a plain delete. Where gateways hear of revocations, their own memory covers for
# that: it shows in the race that faults_late.go tells of.
caught tombstone "an ended session is let in" "late reader"
# A store that cannot be asked is taken for a no.
caught unsure "a live session is turned away" "Postgres"
