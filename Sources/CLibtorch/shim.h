// Empty on purpose: libtorch's C++ headers are only seen by the CTorch target. This module exists so that
// SwiftPM reads the compile and link flags from ziplora-libtorch.pc.
