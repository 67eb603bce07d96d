#!/usr/bin/env bash
# Makes this machine ready to build ziplora, and does nothing when it is: Swift is checked, the image libraries are
# installed when root (otherwise the command to type is printed), libtorch is fetched into .libtorch, and the
# pkg-config file through which SwiftPM finds libtorch is written.
#
#   make bootstrap                        or   Scripts/bootstrap.sh
#   LIBTORCH=/opt/libtorch make bootstrap      use the libtorch in that folder and fetch nothing
#
# Whatever goes wrong ends in one sentence on standard error and exit code 1. libtorch is unpacked in .libtorch-work
# and renamed to .libtorch when complete, so a .libtorch that exists is whole; a finished download survives an
# interruption there. Runs on bash 3.2, the one that macOS ships.
set -euo pipefail

readonly torch_version=2.13.0
readonly cpu_index=https://download.pytorch.org/whl/cpu
# Only the C++ half of the wheel is used, and that is the same for every Python; naming one makes the choice, and so
# the checksum, independent of the Python that happens to run pip.
readonly wheel_python=3.11
# The largest wheel (527 MB), what is unpacked of it (440 MB) and room for pip's temporary copy.
readonly needed_kib=$((2 * 1024 * 1024))
readonly swift_major=6 swift_minor=2

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
readonly home=$root/.libtorch
readonly work=$root/.libtorch-work
system=$(uname -s)
machine=$(uname -m)
readonly system machine

main() {
  require_swift
  if [[ -n ${LIBTORCH:-} ]]; then
    require_given_libtorch
    require_system_packages
    write_pkg_config_file "$LIBTORCH"
  elif [[ -z $(libtorch_problem "$home") ]]; then
    require_system_packages
    write_pkg_config_file "\${pcfiledir}/.."
  else
    require_system_packages python3-pip
    fetch_libtorch
    write_pkg_config_file "\${pcfiledir}/.."
  fi
}

say() { printf 'bootstrap: %s\n' "$*"; }

fail() {
  printf 'bootstrap: error: %s\n' "$*" >&2
  exit 1
}

# MARK: Swift

require_swift() {
  local wanted="Swift $swift_major.$swift_minor or newer is needed" output
  command -v swift >/dev/null || fail "$wanted and there is no swift on the PATH; see https://www.swift.org/install"
  output=$(swift --version 2>&1) || true
  [[ $output =~ Swift\ version\ ([0-9]+)\.([0-9]+) ]] || fail "$wanted and \`swift --version\` does not name a version"
  local major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
  ((major > swift_major || (major == swift_major && minor >= swift_minor))) ||
    fail "$wanted and this one is $major.$minor; see https://www.swift.org/install"
}

# MARK: System packages

# Prints the Debian names of what is missing, of the libraries of the system and of the further packages given.
missing_packages() {
  local name has_pkg_config=true
  command -v pkg-config >/dev/null || has_pkg_config=false
  $has_pkg_config || echo pkg-config
  for name in libpng libjpeg libwebp; do
    $has_pkg_config && pkg-config --exists "$name" || echo "$name-dev"
  done
  # macOS's own malloc is used there.
  if [[ $system != Darwin ]]; then
    $has_pkg_config && pkg-config --exists libtcmalloc_minimal || echo libgoogle-perftools-dev
  fi
  for name in "$@"; do
    [[ $name != python3-pip ]] || python3 -m pip --version >/dev/null 2>&1 || echo "$name"
  done
}

require_system_packages() {
  local missing
  missing=$(missing_packages "$@" | xargs)
  [[ -n $missing ]] || return 0
  if [[ $system == Darwin ]]; then
    fail "pkg-config, libpng, libjpeg-turbo, libwebp or pip is missing; install them with: brew install pkgconf libpng jpeg-turbo webp python3"
  elif ! command -v apt-get >/dev/null; then
    fail "these packages (Debian's names) are missing: $missing; install them with this system's package manager"
  elif [[ $(id -u) != 0 ]]; then
    fail "these packages are missing: $missing; install them with: sudo apt-get update && sudo apt-get install -y $missing"
  fi
  say "installing $missing"
  mkdir -p "$work"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # the names are words of a list
  { apt-get update && apt-get install -y --no-install-recommends $missing; } </dev/null >"$work/apt.log" 2>&1 ||
    fail "apt-get could not install $missing (see $work/apt.log); check the network and run this again"
  missing=$(missing_packages "$@" | xargs)
  [[ -z $missing ]] || fail "apt-get has run, and these are still not found: $missing (see $work/apt.log)"
  rm -f "$work/apt.log"
  rmdir "$work" 2>/dev/null || true
}

# MARK: libtorch

# Prints what keeps a folder from being the libtorch wanted, or nothing. The version is read from the headers, which
# every distribution of libtorch has.
libtorch_problem() {
  local folder=$1 header version extension=so
  [[ $system != Darwin ]] || extension=dylib
  [[ -d $folder ]] || { echo "is not a folder" && return; }
  [[ -d $folder/include ]] || { echo "has no include folder" && return; }
  [[ -e $folder/lib/libtorch_cpu.$extension ]] || { echo "has no lib/libtorch_cpu.$extension" && return; }
  for header in "$folder"/include/torch/{headeronly,csrc/api/include/torch}/version.h; do
    [[ -f $header ]] || continue
    version=$(awk '/#define TORCH_VERSION_(MAJOR|MINOR|PATCH) / { print $3 }' "$header" | paste -sd . -)
    [[ -z $version ]] || break
  done
  [[ ${version:-} == "$torch_version" ]] || echo "holds libtorch ${version:-of an unknown version}"
}

require_given_libtorch() {
  local problem
  [[ $LIBTORCH == /* ]] || fail "LIBTORCH=$LIBTORCH is not an absolute path"
  problem=$(libtorch_problem "$LIBTORCH")
  [[ -z $problem ]] || fail "LIBTORCH=$LIBTORCH $problem; libtorch $torch_version is needed there, or unset LIBTORCH to fetch it"
}

fetch_libtorch() {
  mkdir -p "$work" || fail "the folder $root cannot be written to"
  wait_for_other_bootstrap
  if [[ -z $(libtorch_problem "$home") ]]; then
    rm -rf "$work"
    return
  fi
  platform_tags >/dev/null
  rm -rf "$work/incoming" "$work/unpacked"
  trap 'rm -rf "$work/incoming" "$work/unpacked"' EXIT
  require_space
  download torch "torch==$torch_version"
  # The default index's wheels for Linux are CUDA builds, whose CPU half asks for two small CUDA libraries.
  if [[ $system == Linux && $(downloaded torch) != *+cpu* ]]; then
    download nvidia_cuda_runtime "nvidia-cuda-runtime==13.0.*"
    download nvidia_cuda_cupti "nvidia-cuda-cupti==13.0.*"
  fi
  say "unpacking libtorch $torch_version"
  python3 "$root/Scripts/unpack_libtorch.py" "$torch_version" "$work/unpacked" "$work"/*.whl || exit
  rm -rf "$home"
  mv "$work/unpacked" "$home"
  rm -rf "$work"
  say "libtorch $torch_version is in .libtorch"
}

# Two terminals may start on a fresh machine at once; macOS has no flock and does without.
wait_for_other_bootstrap() {
  command -v flock >/dev/null || return 0
  exec 9>"$work/lock"
  flock --nonblock 9 || { say "waiting for another bootstrap" && flock 9; }
  mkdir -p "$work"
}

require_space() {
  local available
  available=$(df -Pk "$root" | awk 'NR == 2 { print $4 }')
  [[ -z $available ]] || ((available >= needed_kib)) ||
    fail "fetching libtorch needs $((needed_kib / 1024)) MB of free disk space, and $root has $((available / 1024)) MB"
}

# Prints the finished download of a distribution, or nothing.
downloaded() { find "$work" -maxdepth 1 -name "$1-*.whl"; }

# Downloads the wheel of a requirement, unless an earlier run has. The CPU build's own index is asked first.
download() {
  local name=$1 requirement=$2
  [[ -z $(downloaded "$name") ]] || return 0
  say "fetching $requirement"
  : >"$work/pip.log"
  if [[ $name == torch ]]; then
    pip_download "$requirement" --index-url "$cpu_index" --timeout 15 --retries 1 || {
      say "the index of CPU builds gave none; asking pip's default index"
      : >"$work/pip.log"
      pip_download "$requirement" || explain_pip_failure "$requirement"
    }
  else
    pip_download "$requirement" || explain_pip_failure "$requirement"
  fi
  mv "$work/incoming"/*.whl "$work/"
}

pip_download() {
  local options=(--no-deps --only-binary :all: --no-cache-dir --disable-pip-version-check --no-input
    --python-version "$wheel_python" --dest "$work/incoming") tag
  for tag in $(platform_tags); do
    options+=(--platform "$tag")
  done
  [[ -t 1 ]] || options+=(--quiet --progress-bar off)
  mkdir -p "$work/incoming"
  # pip's temporary files go where the free space has been checked.
  TMPDIR=$work/incoming python3 -m pip download "${options[@]}" "$@" 2>>"$work/pip.log"
}

# Prints the platforms of the wheels, torch's own last: a pip that knows only one takes the last.
platform_tags() {
  case $system-$machine in
    Linux-x86_64 | Linux-aarch64) echo manylinux2014_"$machine" manylinux_2_25_"$machine" manylinux_2_28_"$machine" ;;
    Darwin-arm64) echo macosx_14_0_arm64 ;;
    *) fail "PyTorch publishes no libtorch $torch_version for $system on $machine; set LIBTORCH to a folder that holds one" ;;
  esac
}

explain_pip_failure() {
  local requirement=$1 log=$work/pip.log
  if grep -qi "no space left on device" "$log"; then
    fail "the disk became full while $requirement was being fetched; free some space and run this again"
  elif grep -qiE "failed to establish|name resolution|timed out|connection (broken|refused|reset|aborted)|unreachable|proxyerror|sslerror" "$log"; then
    fail "$requirement could not be fetched for lack of a network connection (see $log); connect and run this again, or set LIBTORCH"
  fi
  fail "pip found no $requirement for $system on $machine (see $log); set LIBTORCH to a folder that holds libtorch $torch_version"
}

# MARK: pkg-config

# SwiftPM reads the flags of the target CLibtorch here; it drops an rpath, which the Makefile therefore passes.
write_pkg_config_file() {
  local file=$home/pkgconfig/ziplora-libtorch.pc contents
  contents="prefix=$1
Name: ziplora-libtorch
Description: libtorch, as found or fetched by Scripts/bootstrap.sh
Version: $torch_version
Cflags: -I\"\${prefix}/include\" -I\"\${prefix}/include/torch/csrc/api/include\"
Libs: -L\"\${prefix}/lib\" -ltorch_cpu -lc10"
  # Left alone when right: a newer file would make SwiftPM plan the build again.
  [[ ! -f $file || $(<"$file") != "$contents" ]] || return 0
  mkdir -p "${file%/*}"
  printf '%s\n' "$contents" >"$file.new"
  mv "$file.new" "$file"
}

main
