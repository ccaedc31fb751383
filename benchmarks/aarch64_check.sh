#!/usr/bin/env bash
# The device install on 64-bit Arm, emulated: does it install from wheels alone, and does a bundle
# that was built on x86-64 compute the same there?
#
#     sudo PYTHON=.venv/bin/python benchmarks/aarch64_check.sh WORK MANIFEST BUNDLE...
#
# WORK      a folder for the Debian root (about 1 GB), kept between runs; outside the clone
# MANIFEST  a manifest whose test images can be read here
# BUNDLE    one or more bundles that were built on this machine; copied, not changed
#
# PYTHON    this machine's Python with cxredge installed (python3)
# IMAGES    how many test images are predicted; emulation is slow (32)
# SUITE     release of Debian: bookworm has Python 3.11, trixie 3.13 (bookworm)
# OUT       where the result goes (WORK/aarch64), with .json and .md
#
# Needs root, and Debian's packages debootstrap and qemu-user-static. pip uses this machine's
# configuration. Mounts and the kernel's entry for Arm programs are taken back at the end.
set -euo pipefail

HERE=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=${PYTHON:-python3}
IMAGES=${IMAGES:-32}
SUITE=${SUITE:-bookworm}
QEMU=qemu-aarch64-static
ENTRIES=/proc/sys/fs/binfmt_misc
ENTRY=cxredge-aarch64

die() { echo "aarch64_check: $1" >&2; exit 1; }
say() { echo "== $1" >&2; }

[ $# -ge 3 ] || die "expected WORK MANIFEST BUNDLE...; see the head of this file"
[ "$(id -u)" = 0 ] || die "needs root, to make a Debian root: sudo $0 $*"
for tool in debootstrap "$QEMU"; do
  command -v "$tool" >/dev/null || die "$tool is missing: apt install debootstrap qemu-user-static"
done
mkdir -p "$1"
WORK=$(cd "$1" && pwd)
MANIFEST=$2
BUNDLES=("${@:3}")
OUT=${OUT:-$WORK/aarch64}
ROOT=$WORK/$SUITE-arm64

# What was done to the machine, to be undone.
undo=()
clean_up() {
  for ((i = ${#undo[@]} - 1; i >= 0; i--)); do eval "${undo[i]}" || true; done
}
trap clean_up EXIT

# The flag F opens the emulator once, so that it is found from inside the root too.
register_emulator() {
  if [ ! -e $ENTRIES/register ]; then
    mount -t binfmt_misc binfmt_misc $ENTRIES
    undo+=("umount $ENTRIES")
  fi
  if grep -ls "^interpreter.*$QEMU" $ENTRIES/* | xargs -r grep -l '^flags:.*F' | grep -q .; then
    return
  fi
  local magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  local mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  printf '%s' ":$ENTRY:M::$magic:$mask:$(command -v $QEMU):F" >$ENTRIES/register
  undo+=("echo -1 >$ENTRIES/$ENTRY")
}

make_root() {
  [ ! -e "$ROOT/.complete" ] || return 0
  say "Debian $SUITE for arm64"
  rm -rf "$ROOT"
  debootstrap --arch=arm64 --variant=minbase --include=python3,python3-venv,ca-certificates \
    "$SUITE" "$ROOT" >"$WORK/debootstrap.log" || die "debootstrap failed: $WORK/debootstrap.log"
  touch "$ROOT/.complete"
}

enter_root() {
  mount -t proc proc "$ROOT/proc"
  undo+=("umount '$ROOT/proc'")
  # /sys stays empty: this machine's describes no Arm cores, and ONNX Runtime crashes over it. Without
  # it, it warns and asks the processor itself.
  # As on the host: names are resolved and certificates trusted as here.
  cp -L /etc/resolv.conf "$ROOT/etc/resolv.conf"
  pip_settings=()
  local authorities=${PIP_CERT:-${SSL_CERT_FILE:-}}
  if [ -n "$authorities" ]; then
    cp -L "$authorities" "$ROOT/etc/ssl/host-authorities.crt"
    pip_settings+=("PIP_CERT=/etc/ssl/host-authorities.crt")
  fi
  local name value
  for name in index-url trusted-host proxy timeout; do
    value=$("$PYTHON" -m pip config get "global.$name" 2>/dev/null || true)
    [ -z "$value" ] || pip_settings+=("PIP_$(echo $name | tr a-z- A-Z_)=$value")
  done
}

arm() {
  chroot "$ROOT" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/venv/bin:/usr/bin:/bin \
    "${pip_settings[@]}" "$@"
}

install() {
  say "the device install, from wheels alone"
  rm -rf "$WORK/source" "$ROOT/wheels" "$ROOT/venv"
  mkdir "$WORK/source" "$ROOT/wheels"
  cp -R "$HERE/cxredge" "$HERE/pyproject.toml" "$HERE/README.md" "$WORK/source"
  "$PYTHON" -m pip wheel --quiet --no-deps --wheel-dir "$ROOT/wheels" "$WORK/source"
  cp "$HERE/constraints.txt" "$ROOT/wheels"
  arm python3 -m venv /venv
  # What the installation itself adds is counted from here.
  arm pip uninstall --quiet --yes setuptools
  arm sh -c 'pip install --quiet --no-compile --only-binary :all: \
    --constraint /wheels/constraints.txt /wheels/*.whl'
}

# Both machines look at copies of the same files under the same names, so rows can be compared.
run_all() {
  rm -rf "$ROOT/job" "$WORK/found"
  mkdir "$ROOT/job" "$WORK/found"
  "$PYTHON" "$HERE/benchmarks/aarch64_rows.py" pick "$MANIFEST" --count "$IMAGES" --out "$ROOT/job/images"
  local bundle name
  for bundle in "${BUNDLES[@]}"; do
    name=$(basename "$bundle")
    cp -R "$bundle" "$ROOT/job/$name"
    say "$name on x86-64"
    (cd "$ROOT/job" && commands "$name" x86 "$PYTHON" -m cxredge)
    say "$name on aarch64"
    commands "$name" arm arm_in_job cxredge
  done
  arm_in_job cxredge doctor --json >"$WORK/found/doctor.json"
}

arm_in_job() { arm sh -c 'cd /job && exec "$@"' sh "$@"; }

# A command that fails is a result as well: its JSON says why.
commands() {
  local name=$1 where=$2
  shift 2
  "$@" verify "$name" --json >"$WORK/found/$name.verify.$where.json" || true
  "$@" predict "$name" images --out "$name.$where.csv" --json \
    >"$WORK/found/$name.predict.$where.json" || true
  "$@" evaluate "$name" images/manifest.csv --out "$name.$where.evaluate.json" --json \
    >"$WORK/found/$name.evaluate.$where.json" || true
}

# For small disks: what a device loads, as it is listed, and no dependencies of it.
install_listed() {
  cp "$HERE/requirements-device.txt" "$ROOT/wheels"
  arm /usr/bin/python3 -m venv --clear /venv
  arm pip uninstall --quiet --yes setuptools
  arm sh -c 'pip install --quiet --no-compile --only-binary :all: --no-deps \
    --requirement /wheels/requirements-device.txt /wheels/*.whl'
  arm_in_job cxredge verify "$(basename "${BUNDLES[0]}")" --json >"$WORK/found/verify-listed.json"
}

measure() {
  "$PYTHON" "$HERE/benchmarks/aarch64_rows.py" measure \
    "$(echo "$ROOT"/venv/lib/python*/site-packages)" --out "$WORK/found/$1.json"
}

register_emulator
make_root
enter_root
install
run_all
# Compiled Python was written by the runs; a device writes it too, and may do without.
find "$ROOT/venv" -name __pycache__ -prune -exec rm -r {} +
measure installed
arm pip list --format json >"$WORK/found/packages.json"
say "what requirements-device.txt lists"
install_listed
find "$ROOT/venv" -name __pycache__ -prune -exec rm -r {} +
measure listed
say "comparison"
cp "$ROOT"/job/*.csv "$WORK/found"
arm python3 -c 'import json, platform; print(json.dumps({
  "python": platform.python_version(), "libc": " ".join(platform.libc_ver()),
  "machine": platform.machine()}))' >"$WORK/found/system.json"
"$PYTHON" "$HERE/benchmarks/aarch64_rows.py" compare "$WORK/found" \
  --emulator "$($QEMU --version | head -1)" \
  --debian "$SUITE" --out "$OUT" "${BUNDLES[@]##*/}"
