#!/usr/bin/env bash
# Tests Scripts/bootstrap.sh without a network, without root and without touching this machine: each case runs it in an
# empty folder, with small stand-ins for swift, pkg-config, apt-get, pip, df, id and uname in front of the PATH. What a
# stand-in answers is set by the FAKE_ variables; what it was asked is kept in calls/.
#
#   Tests/Bootstrap/test_bootstrap.sh [CASE ...]
# shellcheck disable=SC2016 # the stand-ins expand their variables themselves
set -uo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
sandboxes=$(mktemp -d)
trap 'rm -rf "$sandboxes"' EXIT
python=$(python3 -c 'import sys; print(sys.executable)') || exit 1
host_path=$PATH
unset LIBTORCH "${!FAKE_@}"

# MARK: The stand-ins

stand_in() {
  { printf '#!/usr/bin/env bash\necho "$*" >>"%s/calls/%s"\n' "$sandbox" "$1" && cat; } >"$sandbox/bin/$1"
  chmod +x "$sandbox/bin/$1"
}

make_stand_ins() {
  stand_in swift <<<'echo "Swift version ${FAKE_SWIFT:-6.2.1} (swift-RELEASE)"'
  stand_in id <<<'echo "${FAKE_USER:-1000}"'
  stand_in uname <<<'[[ $1 == -s ]] && echo "${FAKE_SYSTEM:-Linux}" || echo "${FAKE_MACHINE:-x86_64}"'
  stand_in df <<<'printf "Filesystem 1024-blocks Used Available\n/dev/disk 9 9 %s 9%% /\n" "${FAKE_FREE_KIB:-99999999}"'
  stand_in pkg-config <<<"[[ -z \${FAKE_MISSING:-} || \$2 != \"\$FAKE_MISSING\" || -e '$sandbox/installed' ]]"
  stand_in apt-get <<<"[[ -z \${FAKE_APT_FAILS:-} ]] || exit 100; [[ \$1 != install ]] || touch '$sandbox/installed'"
  stand_in python3 <<END
if [[ "\$1 \$2" == "-m pip" ]]; then
  shift 2
  exec "$sandbox/bin/pip" "\$@"
elif [[ -n \${FAKE_KILL_UNPACKING:-} ]]; then
  mkdir -p "\$3/lib" && touch "\$3/lib/libtorch_cpu.so" && kill -KILL \$PPID
else
  exec "$python" "\$@"
fi
END
  stand_in pip <<END
case \$1-\${FAKE_PIP:-} in
  --version-none) exit 1 ;;
  --version-*) exit 0 ;;
  *-offline) echo "Failed to establish a new connection: Name or service not known" >&2; exit 1 ;;
  *-nothing) echo "ERROR: No matching distribution found" >&2; exit 1 ;;
  *-full) echo "OSError: [Errno 28] No space left on device" >&2; exit 1 ;;
esac
[[ -z \${FAKE_NO_CPU_INDEX:-} || "\$*" != *--index-url* ]] || exit 1
while [[ \$1 != --dest ]]; do shift; done
for requirement in "\$@"; do
  [[ \$requirement == *==* ]] && break
done
name=\${requirement%%==*}
cp "$sandbox/index/"\${name//-/_}-*.whl "\$2/"
END
}

# Writes a wheel of a few files into the index: make_wheel FILE MEMBER[=TEXT] ...
make_wheel() {
  "$python" - "$sandbox/index/$1" "${@:2}" <<'END'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as wheel:
    for member in sys.argv[2:]:
        name, _, text = member.partition("=")
        wheel.writestr(name, text or "contents of " + name)
END
}

headers_of() {
  # shellcheck disable=SC2086 # three words
  printf '#define TORCH_VERSION_MAJOR %s\n#define TORCH_VERSION_MINOR %s\n#define TORCH_VERSION_PATCH %s\n' ${1//./ }
}

# make_torch_wheel VERSION LABEL FILE_VERSION FURTHER_MEMBERS ...
make_torch_wheel() {
  local extension=so
  [[ ${FAKE_SYSTEM:-} != Darwin ]] || extension=dylib
  make_wheel "torch-$3-cp311-cp311-test.whl" \
    "torch/version.py=__version__ = '$1$2'" \
    "torch/include/torch/headeronly/version.h=$(headers_of "$1")" \
    torch/lib/libc10.$extension torch/lib/libtorch_cpu.$extension torch/lib/libtorch_python.$extension \
    torch/nn/__init__.py "torch-$3.dist-info/licenses/LICENSE" "torch-$3.dist-info/licenses/third_party/fmt/LICENSE" "${@:4}"
}

make_cpu_wheel() { make_torch_wheel 2.13.0 +cpu 2.13.0+cpu; }

make_cuda_wheels() {
  make_torch_wheel 2.13.0 +cu130 2.13.0 torch/lib/libtorch_cuda.so torch/lib/libc10_cuda.so
  make_wheel nvidia_cuda_runtime-13.0.1-test.whl nvidia/cu13/lib/libcudart.so.13 nvidia/cu13/include/cuda.h \
    nvidia_cuda_runtime-13.0.1.dist-info/licenses/License.txt
  make_wheel nvidia_cuda_cupti-13.0.1-test.whl nvidia/cu13/lib/libcupti.so.13 nvidia/cu13/lib/libnvperf_host.so
}

# make_libtorch FOLDER VERSION: a libtorch as it is installed by hand.
make_libtorch() {
  mkdir -p "$1/include/torch/headeronly" "$1/lib"
  headers_of "$2" >"$1/include/torch/headeronly/version.h"
  touch "$1/lib/libtorch_cpu.so"
}

# MARK: Running and expecting

# Runs the bootstrap of the sandbox, with further variables: bootstrap [NAME=VALUE ...]
bootstrap() {
  env PATH="$sandbox/bin:$host_path" "$@" "$sandbox/Scripts/bootstrap.sh" >"$sandbox/output" 2>"$sandbox/errors" </dev/null
  status=$?
}

wrong() {
  failures=$((failures + 1))
  printf 'FAILED %s: %s\n' "$case" "$*"
  sed 's/^/    /' "$sandbox/output" "$sandbox/errors"
}

expect_success() {
  ((status == 0)) || wrong "exit code $status, expected 0"
  [[ ! -s $sandbox/errors ]] || wrong "something on standard error"
}

# One sentence, and nothing of a libtorch left where the build would find it.
expect_failure() {
  ((status == 1)) || wrong "exit code $status, expected 1"
  [[ $(grep -c '' "$sandbox/errors") == 1 && $(<"$sandbox/errors") == "bootstrap: error: "*"$1"* ]] ||
    wrong "expected one line on standard error that contains: $1"
  [[ ! -e $sandbox/.libtorch/lib && ! -e $sandbox/.libtorch-work/unpacked ]] || wrong "half a libtorch was left"
}

expect_files() {
  local file
  for file in "$@"; do
    [[ -f $sandbox/$file ]] || wrong "$file is missing"
  done
}

expect_no_files() {
  local file
  for file in "$@"; do
    [[ ! -e $sandbox/$file ]] || wrong "$file exists"
  done
}

expect_called() {
  grep -q -e "$2" "$sandbox/calls/$1" 2>/dev/null || wrong "$1 was not asked: $2"
}

# expect_calls COMMAND COUNT PATTERN
expect_calls() {
  local count
  count=$(grep -c -e "$3" "$sandbox/calls/$1" 2>/dev/null)
  [[ ${count:-0} == "$2" ]] || wrong "$1 was asked ${count:-0} times, expected $2: $3"
}

expect_pkg_config_prefix() {
  grep -qxF "prefix=$1" "$sandbox/.libtorch/pkgconfig/ziplora-libtorch.pc" || wrong "the pkg-config file has another prefix than $1"
}

# MARK: Cases

test_fresh_machine() {
  make_cpu_wheel
  bootstrap
  expect_success
  expect_files .libtorch/lib/libtorch_cpu.so .libtorch/lib/libc10.so .libtorch/include/torch/headeronly/version.h
  expect_files .libtorch/licenses/torch-2.13.0+cpu/{LICENSE,third_party/fmt/LICENSE}
  expect_no_files .libtorch/lib/libtorch_python.so .libtorch/nn .libtorch-work
  expect_pkg_config_prefix "\${pcfiledir}/.."
  expect_calls pip 1 "download .*--platform manylinux_2_28_x86_64 --.*torch==2.13.0"
  grep -q "checksum unknown, version verified" "$sandbox/output" || wrong "the unknown checksum is not mentioned"
}

test_second_run_does_nothing() {
  make_cpu_wheel
  bootstrap
  local before
  before=$(cd "$sandbox/.libtorch" && find . -exec ls -ld --time-style=full-iso {} + 2>/dev/null)
  bootstrap FAKE_PIP=offline FAKE_FREE_KIB=1
  expect_success
  [[ ! -s $sandbox/output ]] || wrong "the second run printed something"
  [[ $before == "$(cd "$sandbox/.libtorch" && find . -exec ls -ld --time-style=full-iso {} + 2>/dev/null)" ]] ||
    wrong "the second run changed .libtorch"
  expect_calls pip 1 download
}

test_default_index_brings_the_cuda_build() {
  make_cuda_wheels
  bootstrap FAKE_NO_CPU_INDEX=1
  expect_success
  expect_files .libtorch/lib/{libtorch_cpu.so,libcudart.so.13,libcupti.so.13} .libtorch/licenses/nvidia_cuda_runtime-13.0.1/License.txt
  expect_no_files .libtorch/lib/{libtorch_cuda.so,libc10_cuda.so,libnvperf_host.so} .libtorch-work
}

test_arm_linux() {
  make_cpu_wheel
  bootstrap FAKE_MACHINE=aarch64
  expect_success
  expect_called pip "--platform manylinux_2_28_aarch64"
}

test_macos() {
  FAKE_SYSTEM=Darwin make_torch_wheel 2.13.0 "" 2.13.0
  bootstrap FAKE_SYSTEM=Darwin FAKE_MACHINE=arm64
  expect_success
  expect_files .libtorch/lib/libtorch_cpu.dylib
  expect_no_files .libtorch/lib/libtorch_python.dylib
  expect_called pip "--platform macosx_14_0_arm64"
  expect_calls pip 0 nvidia
}

test_platform_without_libtorch() {
  bootstrap FAKE_SYSTEM=Darwin FAKE_MACHINE=x86_64
  expect_failure "PyTorch publishes no libtorch 2.13.0 for Darwin on x86_64; set LIBTORCH"
  expect_calls pip 0 download
}

test_no_network() {
  bootstrap FAKE_PIP=offline
  expect_failure "torch==2.13.0 could not be fetched for lack of a network connection"
  make_cpu_wheel
  bootstrap
  expect_success
}

test_index_without_the_version() {
  bootstrap FAKE_PIP=nothing
  expect_failure "pip found no torch==2.13.0 for Linux on x86_64"
}

test_disk_full_beforehand() {
  make_cpu_wheel
  bootstrap FAKE_FREE_KIB=1048576
  expect_failure "fetching libtorch needs 2048 MB of free disk space, and $sandbox has 1024 MB"
  expect_calls pip 0 download
}

test_disk_full_while_fetching() {
  bootstrap FAKE_PIP=full
  expect_failure "the disk became full while torch==2.13.0 was being fetched"
}

test_disk_full_while_unpacking() {
  make_torch_wheel 2.13.0 +cpu 2.13.0+cpu "torch/include/large.h=$(printf '%100000s' '')"
  # A limit of 64 KiB on the size of a file stands for the end of the disk.
  (ulimit -f 64 && bootstrap && exit "$status") || status=$?
  expect_failure "libtorch could not be unpacked into"
  expect_files .libtorch-work/torch-2.13.0+cpu-cp311-cp311-test.whl
}

test_wrong_version() {
  make_torch_wheel 2.12.1 +cpu 2.13.0+cpu
  bootstrap
  expect_failure "holds torch 2.12.1+cpu and should hold 2.13.0; it has been removed"
  expect_no_files .libtorch-work/torch-2.13.0+cpu-cp311-cp311-test.whl
}

test_damaged_download() {
  make_cpu_wheel
  local wheel=$sandbox/index/torch-2.13.0+cpu-cp311-cp311-test.whl
  cp "$wheel" "$sandbox/whole" && head -c 700 "$sandbox/whole" >"$wheel"
  bootstrap
  expect_failure "is damaged"
  cp "$sandbox/whole" "$wheel"
  bootstrap
  expect_success
  expect_calls pip 2 download
}

test_wrong_checksum() {
  make_cpu_wheel
  mv "$sandbox"/index/torch-*.whl "$sandbox/index/torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
  bootstrap
  expect_failure "and should have 6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
}

test_killed_while_unpacking() {
  make_cpu_wheel
  # The shell's own word about the killed process is not wanted.
  { bootstrap FAKE_KILL_UNPACKING=1; } 2>/dev/null
  ((status == 137)) || wrong "exit code $status, expected 137"
  expect_no_files .libtorch
  bootstrap
  expect_success
  expect_files .libtorch/lib/libc10.so
  # The finished download was kept.
  expect_calls pip 1 download
}

test_other_version_is_replaced() {
  make_libtorch "$sandbox/.libtorch" 2.12.0
  touch "$sandbox/.libtorch/lib/libold.so"
  make_cpu_wheel
  bootstrap
  expect_success
  expect_files .libtorch/lib/libc10.so
  expect_no_files .libtorch/lib/libold.so
}

test_given_libtorch() {
  make_libtorch "$sandbox/my libtorch" 2.13.0
  bootstrap LIBTORCH="$sandbox/my libtorch"
  expect_success
  expect_pkg_config_prefix "$sandbox/my libtorch"
  expect_no_files .libtorch/lib calls/pip
  # Without it, the file names .libtorch again.
  make_cpu_wheel
  bootstrap
  expect_success
  expect_pkg_config_prefix "\${pcfiledir}/.."
}

test_given_libtorch_unfit() {
  local folder=$sandbox/given
  bootstrap LIBTORCH=given
  expect_failure "LIBTORCH=given is not an absolute path"
  bootstrap LIBTORCH="$folder"
  expect_failure "LIBTORCH=$folder is not a folder; libtorch 2.13.0 is needed there"
  make_libtorch "$folder" 2.4.1
  bootstrap LIBTORCH="$folder"
  expect_failure "LIBTORCH=$folder holds libtorch 2.4.1"
  rm -r "$sandbox/given/lib"
  bootstrap LIBTORCH="$folder"
  expect_failure "LIBTORCH=$folder has no lib/libtorch_cpu.so"
  rm -r "$sandbox/given/include"
  bootstrap LIBTORCH="$folder"
  expect_failure "LIBTORCH=$folder has no include folder"
  expect_no_files .libtorch
}

test_old_swift() {
  bootstrap FAKE_SWIFT=6.0.3
  expect_failure "Swift 6.2 or newer is needed and this one is 6.0"
}

test_no_swift() {
  rm "$sandbox/bin/swift"
  # The rest of the PATH may hold a real swift.
  local host_path=/usr/bin:/bin
  ! PATH=$host_path command -v swift >/dev/null || return 0
  bootstrap
  expect_failure "Swift 6.2 or newer is needed and there is no swift on the PATH"
}

test_image_library_missing_for_a_user() {
  bootstrap FAKE_MISSING=libwebp
  expect_failure "these packages are missing: libwebp-dev; install them with: sudo apt-get update && sudo apt-get install -y libwebp-dev"
  expect_no_files calls/apt-get
}

test_image_library_missing_for_root() {
  make_cpu_wheel
  bootstrap FAKE_MISSING=libwebp FAKE_USER=0
  expect_success
  expect_calls apt-get 1 "^install -y --no-install-recommends libwebp-dev$"
  expect_no_files .libtorch-work
}

test_allocator_missing() {
  bootstrap FAKE_MISSING=libtcmalloc_minimal
  expect_failure "these packages are missing: libgoogle-perftools-dev; install them with: sudo apt-get update"
}

test_no_allocator_on_macos() {
  FAKE_SYSTEM=Darwin make_torch_wheel 2.13.0 "" 2.13.0
  bootstrap FAKE_MISSING=libtcmalloc_minimal FAKE_SYSTEM=Darwin FAKE_MACHINE=arm64
  expect_success
}

test_apt_fails() {
  bootstrap FAKE_MISSING=libpng FAKE_USER=0 FAKE_APT_FAILS=1
  expect_failure "apt-get could not install libpng-dev"
}

test_image_library_missing_on_macos() {
  bootstrap FAKE_MISSING=libjpeg FAKE_SYSTEM=Darwin FAKE_MACHINE=arm64
  expect_failure "install them with: brew install pkgconf libpng jpeg-turbo webp python3"
}

test_no_pip() {
  bootstrap FAKE_PIP=none
  expect_failure "these packages are missing: python3-pip; install them with: sudo apt-get update"
  # A libtorch that is given needs no pip.
  make_libtorch "$sandbox/given" 2.13.0
  bootstrap FAKE_PIP=none LIBTORCH="$sandbox/given"
  expect_success
}

# MARK: Main

passed=0 failed=0
# shellcheck disable=SC2046 # names are words
(($# > 0)) || set -- $(compgen -A function test_)
for case in "$@"; do
  sandbox=$sandboxes/$case
  failures=0 status=0
  mkdir -p "$sandbox"/{bin,calls,index,Scripts}
  cp "$repository"/Scripts/{bootstrap.sh,unpack_libtorch.py} "$sandbox/Scripts/"
  make_stand_ins
  "$case"
  ((failures == 0)) && passed=$((passed + 1)) || failed=$((failed + 1))
done
printf 'bootstrap: %d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
