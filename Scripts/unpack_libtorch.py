#!/usr/bin/env python3
"""Unpacks libtorch (headers, libraries, licences) from PyTorch's wheel into a folder.

    unpack_libtorch.py VERSION FOLDER WHEEL [WHEEL ...]

The wheels are torch's and, for a CUDA build, those of the CUDA libraries that its CPU half is linked to. A wheel with
a known name must have the known checksum; torch's must hold the version wanted. A wheel that fails either is removed,
so that the next run fetches it again. Needs Python 3.6 or newer and nothing else.
"""

import hashlib
import os
import re
import shutil
import sys
import zipfile
import zlib

KNOWN_SHA256 = {
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl":
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
    "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl":
        "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7",
    "torch-2.13.0-cp311-cp311-manylinux_2_28_aarch64.whl":
        "092790c696a760c729fd5722835f50b9d81fd7c8f141571f3f3cf4081a8f664c",
    "torch-2.13.0-cp311-cp311-macosx_14_0_arm64.whl":
        "e76f9bcecc52b8ff711239a2f7547d5353df95878ab232f0773c1d95928b92f8",
    "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl":
        "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
    "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_aarch64.whl":
        "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151",
    "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl":
        "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl":
        "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
}

# The Python binding, and of a CUDA build the GPU half, which nothing here is linked to.
UNUSED_LIBRARY = re.compile(r"lib(torch_python|torch_cuda|c10_cuda|caffe2_nvrtc|torch_nvshmem)[._]")
# What libtorch_cpu of a CUDA build is linked to.
CUDA_LIBRARY = re.compile(r"nvidia/.*/(lib(?:cudart|cupti)\.so[^/]*)")
LICENCE = re.compile(r"([^/]+)\.dist-info/(?:licenses/)?((?:.*/)?(?:licen[cs]e|notice)[^/]*)", re.IGNORECASE)


class BadWheel(Exception):
    """A download that must not be used, and is fetched anew."""


def destination(name):
    """The place of a wheel's member in the libtorch folder; None for what is not needed."""
    if name.endswith("/"):
        return None
    if ".." in name.split("/"):
        raise BadWheel("holds a file with an unsafe path, " + name)
    if name.startswith("torch/include/"):
        return name[len("torch/"):]
    if name.startswith("torch/lib/"):
        return None if UNUSED_LIBRARY.match(os.path.basename(name)) else name[len("torch/"):]
    library = CUDA_LIBRARY.fullmatch(name)
    if library:
        return "lib/" + library.group(1)
    licence = LICENCE.fullmatch(name)
    return "licenses/{}/{}".format(*licence.groups()) if licence else None


def holds_torch(path):
    return os.path.basename(path).startswith("torch-")


def check_checksum(path):
    expected = KNOWN_SHA256.get(os.path.basename(path))
    if expected is None:
        name = os.path.basename(path)
        print("bootstrap: {}: checksum unknown, {}".format(name, "version verified" if holds_torch(path) else "not verified"))
        return
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise BadWheel("has the SHA-256 checksum {} and should have {}".format(digest.hexdigest(), expected))


def check_version(wheel, expected):
    try:
        text = wheel.read("torch/version.py").decode()
    except KeyError:
        raise BadWheel("holds no torch/version.py")
    found = re.search(r"^__version__ = ['\"]([^'\"]*)", text, re.MULTILINE)
    # A local label (+cpu, +cu130) names the build, not another version.
    if not found or found.group(1).split("+")[0] != expected:
        raise BadWheel("holds torch {} and should hold {}".format(found.group(1) if found else "?", expected))


def unpack(path, version, folder):
    try:
        with zipfile.ZipFile(path) as wheel:
            if holds_torch(path):
                check_version(wheel, version)
            check_checksum(path)
            for member in wheel.infolist():
                place = destination(member.filename)
                if place is None:
                    continue
                target = os.path.join(folder, place)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with wheel.open(member) as source, open(target, "wb") as output:
                    shutil.copyfileobj(source, output, 1 << 20)
                if place.startswith("lib/"):
                    os.chmod(target, 0o755)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BadWheel("is damaged ({})".format(error))


def main(version, folder, *paths):
    for path in paths:
        try:
            unpack(path, version, folder)
        except BadWheel as problem:
            os.remove(path)
            sys.exit("bootstrap: error: {} {}; it has been removed, run this again to fetch it anew".format(path, problem))
        except OSError as error:
            sys.exit("bootstrap: error: libtorch could not be unpacked into {}: {}".format(folder, error.strerror))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
