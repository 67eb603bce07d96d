// The one route for every operator: find the schema once, box the arguments, call, unbox.
#include "guard.h"
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

using namespace ctorch;

namespace {

c10::IValue boxed(const ct_value &value, const c10::Argument &argument) {
  // Lists of types that have no tag (Scalar?[]) can be passed as long as they are empty.
  if (value.tag == CT_INT_LIST && value.count == 0) {
    const auto *list = argument.type()->castRaw<c10::ListType>();
    TORCH_CHECK(list != nullptr, "argument '", argument.name(), "' is no list");
    return c10::impl::GenericList(list->getElementType());
  }
  switch (value.tag) {
  case CT_DEFAULT:
    TORCH_CHECK(argument.default_value().has_value(), "argument '", argument.name(), "' has no default");
    return *argument.default_value();
  case CT_NONE: return c10::IValue();
  case CT_TENSOR: return borrowed(reinterpret_cast<ct_tensor>(const_cast<void *>(value.data)));
  case CT_INT: return value.integer;
  case CT_DOUBLE: return value.real;
  case CT_BOOL: return value.integer != 0;
  case CT_STRING: return std::string(static_cast<const char *>(value.data));
  case CT_INT_LIST: {
    const auto *numbers = static_cast<const int64_t *>(value.data);
    return c10::List<int64_t>(c10::ArrayRef<int64_t>(numbers, value.count));
  }
  case CT_DOUBLE_LIST: {
    const auto *numbers = static_cast<const double *>(value.data);
    return c10::List<double>(c10::ArrayRef<double>(numbers, value.count));
  }
  case CT_BOOL_LIST: {
    const auto *flags = static_cast<const bool *>(value.data);
    return c10::List<bool>(c10::ArrayRef<bool>(flags, value.count));
  }
  case CT_TENSOR_LIST: {
    const auto *tensors = static_cast<const ct_tensor *>(value.data);
    c10::List<at::Tensor> list;
    list.reserve(value.count);
    for (int32_t index = 0; index < value.count; ++index) list.push_back(borrowed(tensors[index]));
    return list;
  }
  case CT_OPTIONAL_TENSOR_LIST: {
    const auto *tensors = static_cast<const ct_tensor *>(value.data);
    c10::List<std::optional<at::Tensor>> list;
    list.reserve(value.count);
    for (int32_t index = 0; index < value.count; ++index) {
      list.push_back(tensors[index] == nullptr ? std::nullopt : std::optional<at::Tensor>(borrowed(tensors[index])));
    }
    return list;
  }
  case CT_DEVICE: return device(value.integer);
  case CT_GENERATOR: return *generator(reinterpret_cast<ct_generator>(const_cast<void *>(value.data)));
  default: TORCH_CHECK(false, "argument '", argument.name(), "' has the unknown tag ", value.tag);
  }
}

ct_value tensor_value(at::Tensor tensor) {
  ct_tensor reference = released(std::move(tensor));
  return ct_value{reference == nullptr ? CT_NONE : CT_TENSOR, 0, 0, 0, reference};
}

void unbox(const c10::IValue &value, std::vector<ct_value> &results) {
  if (value.isTensor()) {
    results.push_back(tensor_value(value.toTensor()));
  } else if (value.isTensorList()) {
    for (const at::Tensor &tensor : value.toTensorVector()) results.push_back(tensor_value(tensor));
  } else if (value.isInt()) {
    results.push_back({CT_INT, 0, value.toInt(), 0, nullptr});
  } else if (value.isDouble()) {
    results.push_back({CT_DOUBLE, 0, 0, value.toDouble(), nullptr});
  } else if (value.isBool()) {
    results.push_back({CT_BOOL, 0, value.toBool(), 0, nullptr});
  } else if (value.isNone()) {
    results.push_back({CT_NONE, 0, 0, 0, nullptr});
  } else {
    TORCH_CHECK(false, "a result of type ", value.tagKind(), " has no place in ct_value");
  }
}

} // namespace

ct_error ct_find_operator(const char *name, const char *overload, ct_operator *result) {
  return guarded([&] {
    auto handle = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
    // Kept for the life of the process: operators are looked up once and called millions of times.
    *result = reinterpret_cast<ct_operator>(new c10::OperatorHandle(handle));
  });
}

ct_error ct_call(
  ct_operator op, const ct_value *arguments, int32_t argument_count, ct_value *results, int32_t capacity,
  int32_t *result_count) {
  return guarded([&] {
    const auto &handle = *reinterpret_cast<const c10::OperatorHandle *>(op);
    const auto &schema = handle.schema().arguments();
    TORCH_CHECK(
      static_cast<size_t>(argument_count) <= schema.size(), handle.operator_name(), " takes ", schema.size(),
      " arguments, not ", argument_count);
    torch::jit::Stack stack;
    stack.reserve(std::max(schema.size(), size_t(4)));
    const ct_value absent{CT_DEFAULT, 0, 0, 0, nullptr};
    for (size_t index = 0; index < schema.size(); ++index) {
      const bool given = index < static_cast<size_t>(argument_count);
      stack.push_back(boxed(given ? arguments[index] : absent, schema[index]));
    }
    handle.callBoxed(&stack);

    std::vector<ct_value> unboxed;
    unboxed.reserve(stack.size());
    for (const auto &value : stack) unbox(value, unboxed);
    if (unboxed.size() > static_cast<size_t>(capacity)) {
      for (const auto &value : unboxed) {
        if (value.tag == CT_TENSOR) ct_tensor_release(reinterpret_cast<ct_tensor>(const_cast<void *>(value.data)));
      }
      TORCH_CHECK(false, handle.operator_name(), " gave ", unboxed.size(), " results where ", capacity, " fit");
    }
    std::copy(unboxed.begin(), unboxed.end(), results);
    *result_count = static_cast<int32_t>(unboxed.size());
  });
}
