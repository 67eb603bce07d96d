// Rule 1 of ctorch.h: every exception, of any type, becomes an owned message.
#pragma once

#include "include/ctorch.h"
#include <ATen/ATen.h>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

namespace ctorch {

inline ct_error message(const char *text) {
  char *copy = ::strdup(text);
  // Even the copy may not fit: NULL would mean success, and a static text cannot be freed.
  if (copy == nullptr) std::abort();
  return copy;
}

template <typename Body> ct_error guarded(Body &&body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    return message(error.what_without_backtrace());
  } catch (const std::bad_alloc &) {
    return message("out of memory (std::bad_alloc)");
  } catch (const std::exception &error) {
    return message(error.what());
  } catch (...) {
    return message("an exception of unknown type");
  }
}

// A ct_tensor is the TensorImpl itself with one owned reference.
inline at::TensorImpl *impl(ct_tensor tensor) { return reinterpret_cast<at::TensorImpl *>(tensor); }

inline at::Tensor borrowed(ct_tensor tensor) {
  if (tensor == nullptr) return at::Tensor();
  return at::Tensor(c10::intrusive_ptr<at::TensorImpl, at::UndefinedTensorImpl>::reclaim_copy(impl(tensor)));
}

/// Gives up the reference to the caller; NULL for an undefined tensor.
inline ct_tensor released(at::Tensor tensor) {
  if (!tensor.defined()) return nullptr;
  return reinterpret_cast<ct_tensor>(tensor.unsafeReleaseTensorImpl());
}

inline at::Device device(ct_device number) {
  const auto index = number % 256;
  return at::Device(static_cast<at::DeviceType>(number / 256), index == 255 ? -1 : static_cast<at::DeviceIndex>(index));
}

inline ct_device number(at::Device device) {
  const int64_t index = device.index() < 0 ? 255 : device.index();
  return static_cast<int64_t>(device.type()) * 256 + index;
}

inline at::Generator *generator(ct_generator generator) { return reinterpret_cast<at::Generator *>(generator); }

} // namespace ctorch
