// References, shapes and memory of tensors.
#include "guard.h"

#include <algorithm>

using namespace ctorch;

void ct_free(void *memory) { std::free(memory); }

void ct_tensor_retain(ct_tensor tensor) { c10::raw::intrusive_ptr::incref(impl(tensor)); }

void ct_tensor_release(ct_tensor tensor) { c10::raw::intrusive_ptr::decref(impl(tensor)); }

int64_t ct_tensor_rank(ct_tensor tensor) { return impl(tensor)->dim(); }

void ct_tensor_shape(ct_tensor tensor, int64_t *sizes) {
  const auto shape = impl(tensor)->sizes();
  std::copy(shape.begin(), shape.end(), sizes);
}

int32_t ct_tensor_dtype(ct_tensor tensor) {
  return static_cast<int32_t>(c10::typeMetaToScalarType(impl(tensor)->dtype()));
}

ct_device ct_tensor_device(ct_tensor tensor) { return number(impl(tensor)->device()); }

bool ct_tensor_is_contiguous(ct_tensor tensor) { return impl(tensor)->is_contiguous(); }

ct_error ct_tensor_data(ct_tensor tensor, void **data) {
  return guarded([&] {
    TORCH_CHECK(impl(tensor)->device().is_cpu(), "the memory of a tensor on ", impl(tensor)->device(), " cannot be read here");
    *data = impl(tensor)->mutable_data();
  });
}

ct_error ct_tensor_from_memory(
  void *data, const int64_t *sizes, int32_t rank, int32_t dtype, void (*release)(void *), void *context, ct_tensor *result) {
  return guarded([&] {
    *result = released(at::from_blob(
      data, at::IntArrayRef(sizes, rank), [release, context](void *) { release(context); },
      at::TensorOptions().dtype(static_cast<at::ScalarType>(dtype))));
  });
}
