// The whole C surface over libtorch.
//
// Rules:
//  1. No C++ exception leaves a function: everything that can fail returns NULL on success or an owned message
//     that the caller frees with ct_free. Out-parameters are written only on success.
//  2. Only pointers and numbers cross. A ct_tensor is one owned reference to a TensorImpl; `new` beside a parameter
//     says that the caller receives a reference to release, `borrowed` that it keeps its own.
//  3. Every tensor operation goes through ct_call: the dispatcher knows autograd, autocast and the device.
#ifndef CTORCH_H
#define CTORCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_tensor_impl *ct_tensor;
typedef struct ct_operator_entry *ct_operator;
typedef struct ct_generator_impl *ct_generator;
typedef struct ct_group_impl *ct_group;
typedef struct ct_meter_impl *ct_meter;

/// Owned error message, or NULL.
typedef char *ct_error;

enum {
  CT_DEFAULT = 0,               // the schema's default value
  CT_NONE = 1,
  CT_TENSOR = 2,                // data: ct_tensor
  CT_INT = 3,                   // integer (also ScalarType, Layout, MemoryFormat)
  CT_DOUBLE = 4,                // real
  CT_BOOL = 5,                  // integer != 0
  CT_STRING = 6,                // data: const char *
  CT_INT_LIST = 7,              // data: const int64_t *, count
  CT_DOUBLE_LIST = 8,           // data: const double *, count
  CT_BOOL_LIST = 9,             // data: const bool *, count
  CT_TENSOR_LIST = 10,          // data: const ct_tensor *, count
  CT_OPTIONAL_TENSOR_LIST = 11, // the same, NULL entries are None
  CT_DEVICE = 12,               // integer: see ct_device
  CT_GENERATOR = 13             // data: ct_generator
};

typedef struct {
  int32_t tag;
  int32_t count;
  int64_t integer;
  double real;
  const void *data;
} ct_value;

/// A device as one number: DeviceType * 256 + index, index 255 meaning "the current one".
typedef int64_t ct_device;

void ct_free(void *memory);

// MARK: dispatcher

/// Finds an operator such as ("aten::add", "Tensor"). The entry lives for the whole process.
ct_error ct_find_operator(const char *name, const char *overload, ct_operator *result);

/// Calls an operator. Arguments that are left out, or tagged CT_DEFAULT, take the schema's default.
/// Results are written in order, lists flattened; tensors among them are new references.
ct_error ct_call(
  ct_operator op, const ct_value *arguments, int32_t argument_count, ct_value *results, int32_t capacity,
  int32_t *result_count);

// MARK: tensors

void ct_tensor_retain(ct_tensor tensor);
void ct_tensor_release(ct_tensor tensor);
int64_t ct_tensor_rank(ct_tensor tensor);
/// Writes ct_tensor_rank numbers.
void ct_tensor_shape(ct_tensor tensor, int64_t *sizes);
int32_t ct_tensor_dtype(ct_tensor tensor);
ct_device ct_tensor_device(ct_tensor tensor);
bool ct_tensor_is_contiguous(ct_tensor tensor);
/// Start of the data; valid while the reference is held. CPU only.
ct_error ct_tensor_data(ct_tensor tensor, void **data);
/// A CPU tensor on foreign memory. `release(context)` runs when the last reference goes.
ct_error ct_tensor_from_memory(
  void *data, const int64_t *sizes, int32_t rank, int32_t dtype, void (*release)(void *), void *context,
  ct_tensor *result /* new */);

// MARK: autograd

bool ct_requires_grad(ct_tensor tensor);
ct_error ct_set_requires_grad(ct_tensor tensor, bool value);
/// result is NULL when there is no gradient.
ct_error ct_grad(ct_tensor tensor, ct_tensor *result /* new */);
ct_error ct_set_grad(ct_tensor tensor, ct_tensor gradient /* borrowed, NULL clears */);
/// Accumulates gradients of `tensor` into the leaves. gradient NULL means ones (scalars only).
ct_error ct_backward(ct_tensor tensor, ct_tensor gradient /* borrowed */, bool retain_graph);
/// Gradients of the outputs with respect to the inputs; an unused input gives NULL.
ct_error ct_gradients(
  const ct_tensor *outputs, const ct_tensor *output_gradients, int32_t output_count, const ct_tensor *inputs,
  int32_t input_count, bool retain_graph, bool create_graph, ct_tensor *results /* new */);
/// Sets grad mode of this thread and returns the former one.
bool ct_set_grad_enabled(bool enabled);

/// Backward of a node defined by the caller: gradients of the outputs in (borrowed, NULL where there is none),
/// gradients of the inputs out (new, NULL where there is none). Returns an owned message on failure.
typedef ct_error (*ct_backward_function)(
  void *context, const ct_tensor *output_gradients, int32_t output_count, ct_tensor *input_gradients, int32_t input_count);
/// Ties outputs that were computed without a graph to the inputs by a node of the caller's.
ct_error ct_attach_backward(
  const ct_tensor *inputs, int32_t input_count, const ct_tensor *outputs, int32_t output_count,
  ct_backward_function backward, void (*release)(void *), void *context, ct_tensor *results /* new, output_count */);

// MARK: random numbers

ct_error ct_generator_new(uint64_t seed, ct_generator *result /* new */);
void ct_generator_release(ct_generator generator);
ct_error ct_generator_get_state(ct_generator generator, ct_tensor *state /* new, bytes */);
ct_error ct_generator_set_state(ct_generator generator, ct_tensor state);

// MARK: groups of processes

/// Joins the `size` processes of a run. The one that hosts the store opens it at host:port, the others find each other
/// there, under keys that begin with the prefix. Returns when all are there.
/// device: where the tensors are that the group will be given; the CPU alone. Fails when the others are not there after
/// seconds_to_join, and when goes_on, asked with its context every now and then until they are, answers false; every later
/// call fails after seconds_to_wait, and at once when a connection breaks.
ct_error ct_group_join(
  const char *host, int32_t port, bool hosts_store, const char *prefix, ct_device device, int32_t rank, int32_t size,
  double seconds_to_join, double seconds_to_wait, bool (*goes_on)(void *), void *context, ct_group *result /* new */);
ct_error ct_group_release(ct_group group);
/// Adds up a contiguous tensor over the processes, in place. The sum is the same to the bit in each of them.
ct_error ct_group_sum(ct_group group, ct_tensor tensor);
/// Copies a contiguous tensor of one process into those of the others.
ct_error ct_group_broadcast(ct_group group, ct_tensor tensor, int32_t from);
ct_error ct_group_barrier(ct_group group);
/// Puts a name under a key of the store if there is none; claimed is whether the name under it is this one now.
ct_error ct_group_claim(ct_group group, const char *key, const char *name, bool *claimed);
/// Adds text at the end of what is under a key of the store.
ct_error ct_group_append(ct_group group, const char *key, const char *text);
/// What is under a key of the store, owned by the caller; empty where there is no such key.
ct_error ct_group_get(ct_group group, const char *key, char **text /* new */);

// MARK: memory

/// From now on, counts the bytes of tensors that this thread makes. The meter that began last counts alone.
ct_error ct_meter_begin(ct_meter *result /* new */);
/// The bytes of those that are still there, and the most that there were at once.
void ct_meter_read(ct_meter meter, int64_t *held, int64_t *peak);
/// Ends the meter that began last; it can still be read.
ct_error ct_meter_end(void);
void ct_meter_release(ct_meter meter);

// MARK: process

ct_error ct_set_threads(int32_t count);
int32_t ct_threads(void);
/// Calls work(context, index) for each index below count, each on a new thread with its part of the threads of an operation.
/// A thread of someone else's that calls libtorch for the first time meanwhile keeps as many.
ct_error ct_at_once(int64_t count, void (*work)(void *context, int64_t index), void *context);
bool ct_has_cuda(void);
bool ct_has_mps(void);
const char *ct_version(void);
/// The type that autocast on a device type of this thread casts to; -1 when it is off.
ct_error ct_autocast(ct_device device, int32_t *dtype);
/// Sets the type that autocast on a device type of this thread casts to; -1 turns it off. No cast is kept.
ct_error ct_set_autocast(ct_device device, int32_t dtype);

/// For the tests of rule 1: throws 0 c10::Error, 1 std::invalid_argument, 2 std::bad_alloc, 3 an int.
ct_error ct_throw(int32_t kind);

#ifdef __cplusplus
}
#endif
#endif
