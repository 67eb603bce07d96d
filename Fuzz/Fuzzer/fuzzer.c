// The functions that libFuzzer calls (https://llvm.org/docs/LibFuzzer.html); main is its own.
#include <stddef.h>
#include <stdint.h>

void ziplora_fuzz_read(const uint8_t *bytes, size_t count);
size_t ziplora_fuzz_mutate(uint8_t *bytes, size_t count, size_t capacity, uint32_t seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t count, size_t capacity);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  ziplora_fuzz_read(bytes, count);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t count, size_t capacity, unsigned seed) {
  size_t changed = ziplora_fuzz_mutate(bytes, count, capacity, seed);
  return changed > 0 ? changed : LLVMFuzzerMutate(bytes, count, capacity);
}
