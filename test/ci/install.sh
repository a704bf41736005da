#!/usr/bin/env bash
# install.sh lint|unit|e2e|test|bench|bench-overload|bench-upload|image: sees to it that the programs of that job are there.
#
# Beyond Go, git and make everything comes from Debian's packages, the Go module proxy and npm. What
# is missing is installed if we may (root with apt-get); otherwise this says exactly what to install,
# and fails. Nothing here starts a server, and what Debian would start by itself is held back.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/ci/env.sh

GOLANGCI_LINT=v2.15.0
GOTESTSUM=v1.13.0
ACTIONLINT=v1.7.12
CADDY=v2.11.9
VERSITYGW=v1.8.0 # the S3 server of the tests
H2SPEC=v2.2.1+incompatible # the last that the Go module proxy has
OAUTH2_PROXY=v7.15.6 # what checks are compared with
TUSD=v2.9.1 # what uploads are compared with
NODE_MIN=20

job=${1:?which job: lint, unit, e2e, test, bench, bench-overload, bench-upload or image}
packages=()

die() { printf 'gatehouse: %s\n' "$*" >&2; exit 1; }

# want PROGRAM PACKAGE...: remember the packages that bring a program, if it is not there.
want() {
  local program=$1
  shift
  command -v "$program" >/dev/null || packages+=("$@")
}

# apt PACKAGE...: install without starting a daemon. policy-rc.d is Debian's way to say so; a file of
# that name that is already there is somebody's decision and stays.
apt() {
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made=$policy
  fi
  # The cluster that Debian would make for its own use is of no use to the tests.
  if [ ! -e /etc/postgresql-common/createcluster.conf ] && [[ " $* " == *" postgresql "* ]]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  local status=0
  {
    DEBIAN_FRONTEND=noninteractive apt-get update -q &&
      DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
        -o Dpkg::Options::=--force-confold "$@"
  } </dev/null >"$log" 2>&1 || status=$?
  [ -z "$made" ] || rm -f "$made"
  return "$status"
}

# tool NAME MODULE@VERSION: build a Go program at exactly that version, once per machine.
tool() {
  local name=$1 source=$2
  if [ -x "$tools/$name" ] && go version -m "$tools/$name" | grep -qF "${source#*@}"; then
    return
  fi
  echo "building $name ${source#*@}"
  GOBIN=$tools GOFLAGS='' go install "$source" </dev/null
}

command -v go >/dev/null || die "Go is missing: install the version that go.mod names (go.dev/dl)"
command -v git >/dev/null || die "git is missing: apt-get install git"

case $job in lint | test) want shellcheck shellcheck ;; esac
case $job in
  unit | test)
    want gcc gcc libc6-dev # the race detector links through cgo
    want initdb postgresql
    want redis-server redis-server
    want pgbouncer pgbouncer
    PATH=$PATH:/usr/sbin want nginx nginx
    PATH=$PATH:/usr/sbin want haproxy haproxy
    ;;
esac
case $job in
  e2e | test)
    want gcc gcc libc6-dev
    want initdb postgresql
    want redis-server redis-server
    want "${CHROMIUM:-chromium}" chromium fonts-liberation
    want node nodejs
    want npm npm
    want curl curl
    ;;
esac
case $job in bench) want wrk wrk; want redis-server redis-server; PATH=$PATH:/usr/sbin want nginx nginx ;; esac
case $job in bench-overload) want slowhttptest slowhttptest; want initdb postgresql; want redis-server redis-server ;; esac
case $job in image) want buildah buildah; want busybox busybox-static; want readelf binutils ;; esac

if [ ${#packages[@]} -gt 0 ]; then
  mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    die "these are missing, and only root with apt-get may install them. Run:
  apt-get install --no-install-recommends ${packages[*]}"
  fi
  echo "installing ${packages[*]}"
  log=$(mktemp)
  apt "${packages[@]}" || { cat "$log" >&2; die "apt-get could not install: ${packages[*]}"; }
  rm -f "$log"
fi

case $job in
  e2e | test)
    have=$(node --version)
    major=${have#v}
    [ "${major%%.*}" -ge "$NODE_MIN" ] ||
      die "node $have is too old: the browser driver needs $NODE_MIN or newer (Debian 12 packages 18; nodejs.org has newer ones)"
    (cd test/e2e && npm ci --no-audit --no-fund --loglevel=error </dev/null)
    ;;
esac
case $job in lint | test) tool golangci-lint "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$GOLANGCI_LINT" ;; esac
case $job in lint | test) tool actionlint "github.com/rhysd/actionlint/cmd/actionlint@$ACTIONLINT" ;; esac
case $job in unit | test) tool gotestsum "gotest.tools/gotestsum@$GOTESTSUM" ;; esac
# Debian's Caddy is older than what people install from caddyserver.com.
case $job in unit | test) tool caddy "github.com/caddyserver/caddy/v2/cmd/caddy@$CADDY" ;; esac
case $job in unit | test) tool h2spec "github.com/summerwind/h2spec/cmd/h2spec@$H2SPEC" ;; esac
case $job in unit | test | bench-upload) tool versitygw "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW" ;; esac
case $job in bench-upload) tool tusd "github.com/tus/tusd/v2/cmd/tusd@$TUSD" ;; esac
case $job in bench) tool oauth2-proxy "github.com/oauth2-proxy/oauth2-proxy/v7@$OAUTH2_PROXY" ;; esac
