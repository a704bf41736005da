# shellcheck shell=bash
# env.sh: where the programs are that the proof needs. To be sourced.

# Tools that are built from source live outside the work tree, so that they outlast a clone.
tools=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/gatehouse/bin
PATH=$tools:$PATH

# Debian keeps the programs of the Postgres server out of the PATH, a folder for each version.
for bin in /usr/lib/postgresql/*/bin; do
  [ ! -x "$bin/initdb" ] || PATH=$bin:$PATH
done
export PATH
