#!/usr/bin/env bash
# image.sh: runs the Dockerfile's own steps, where no image can be pulled.
#
# buildah builds it with vfs storage and chroot isolation, so that it needs neither an engine nor
# kernel features. The base image, in the place of docker.io's golang, is made here: a static busybox
# with the Go of this machine. What this does not show: that the image on docker.io has the same parts
# in the same places.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" -eq 0 ] || { echo "image-steps: chroot isolation needs root" >&2; exit 1; }

work=$(mktemp -d /var/tmp/gate-image.XXXXXX)
export BUILDAH_ISOLATION=chroot
store=(--storage-driver vfs --root "$work/store" --runroot "$work/run")
serve=
cleanup() {
  trap - EXIT
  [ -z "$serve" ] || kill "$serve" 2>/dev/null || true
  [ -z "$serve" ] || wait "$serve" 2>/dev/null || true
  buildah "${store[@]}" umount --all >/dev/null 2>&1 || true
  buildah "${store[@]}" rm --all >/dev/null 2>&1 || true
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

step() { printf '== %s\n' "$*"; }
fail() { printf 'FAIL %s\n' "$*" >&2; exit 1; }

step "a golang base image: busybox, and $(go version)"
mkdir -p "$work/base/bin" "$work/base/etc/ssl/certs" "$work/base/usr/local/go" "$work/base/tmp" "$work/base/root"
cp /bin/busybox "$work/base/bin/"
for name in sh mkdir; do ln -s busybox "$work/base/bin/$name"; done
cp -a "$(go env GOROOT)/." "$work/base/usr/local/go/"
# The certificates of this machine: its way to the Go module proxy may need one of its own.
cp /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/"
base=$(buildah "${store[@]}" from scratch)
buildah "${store[@]}" copy -q "$base" "$work/base" / >/dev/null
buildah "${store[@]}" config --env PATH=/usr/local/go/bin:/bin --env GOTOOLCHAIN=local --env HOME=/root --env GOPATH=/go --env GOCACHE=/go/cache "$base"
buildah "${store[@]}" commit -q "$base" localhost/golang:steps >/dev/null
buildah "${store[@]}" rm "$base" >/dev/null
rm -rf "$work/base"

step "the Dockerfile's steps"
# Modules and compiled packages that this machine already has are lent to the build: it is no slower
# than it must be, and takes the same steps.
buildah "${store[@]}" build --format docker --pull-never --network host \
  -v "$(go env GOMODCACHE):/go/pkg/mod" -v "$(go env GOCACHE):/go/cache" \
  --build-arg GO_IMAGE=localhost/golang:steps --build-arg VERSION=image-steps \
  -t localhost/gatehouse:steps .

step "what came of them"
shown=$(buildah "${store[@]}" inspect --type image --format \
  '{{.Docker.Config.User}} {{.Docker.Config.Healthcheck.Test}} {{.Docker.Config.Entrypoint}} {{.Docker.Config.Cmd}}' localhost/gatehouse:steps)
echo "$shown"
[[ $shown == "65532:65532 [CMD /gatehouse ping] [/gatehouse] "* ]] || fail "user, health check or entry point"
box=$(buildah "${store[@]}" from --pull-never localhost/gatehouse:steps)
tree=$(buildah "${store[@]}" mount "$box")
# What buildah itself lays over a container is not of the image.
(cd "$tree" && find . -type f -printf '%M %U %s %P\n' && find . -maxdepth 1 -type d -name data -printf '%M %U %P\n')
[ -s "$tree/etc/ssl/certs/ca-certificates.crt" ] || fail "no certificates"
[ "$(find "$tree" -type f | wc -l)" -eq 2 ] || fail "there is more in the image than the binary and the certificates"
! readelf -l "$tree/gatehouse" | grep -q INTERP || fail "the binary is not static"

step "the image runs as its user, and its health check tells the truth"
in_box() { buildah "${store[@]}" run "$@"; }
in_box "$box" -- /gatehouse version | tee "$work/version"
grep -q image-steps "$work/version" || fail "the version did not arrive"
! in_box "$box" -- /gatehouse ping 2>/dev/null || fail "ping says yes and nothing runs"

mkdir "$work/etc" "$work/data"
head -c 32 /dev/urandom | base64 >"$work/etc/keys"
cat >"$work/etc/config.yaml" <<'YAML'
server: {listen: "127.0.0.1:18080", public_url: "http://localhost:18080", drain_delay: 0s}
admin: {listen: "127.0.0.1:9090"}
secret: {keys_file: /etc/gatehouse/keys}
login: {issuer: "http://127.0.0.1:9", client_id: steps, client_secret: steps-steps-steps}
routes: [{host: "localhost:18080", path: /, upstream: "http://127.0.0.1:9"}]
YAML
chown -R 65532:65532 "$work/etc" "$work/data"
buildah "${store[@]}" run -v "$work/etc:/etc/gatehouse:ro" -v "$work/data:/data" "$box" -- /gatehouse serve --config /etc/gatehouse/config.yaml >"$work/serve.log" 2>&1 &
serve=$!
for _ in $(seq 50); do
  in_box "$box" -- /gatehouse ping >/dev/null 2>&1 && healthy=yes && break
  kill -0 "$serve" 2>/dev/null || break
  sleep 0.2
done
[ "${healthy:-}" = yes ] || { cat "$work/serve.log" >&2; fail "it does not become healthy"; }
[ "$(find "$work/data" -mindepth 1 -uid 65532 | wc -l)" -gt 0 ] || fail "it did not keep its data as its own user"
step "ok: built, static, not root, healthy"
