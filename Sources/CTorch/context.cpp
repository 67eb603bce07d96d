// What belongs to the process or the thread: random numbers, threads, autocast.
#include "guard.h"
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/util/ScopeExit.h>
#ifdef __linux__
#include <dlfcn.h>
#endif
#include <algorithm>
#include <future>
#include <stdexcept>
#include <torch/version.h>
#include <vector>

using namespace ctorch;

ct_error ct_generator_new(uint64_t seed, ct_generator *result) {
  return guarded([&] {
    auto made = std::make_unique<at::Generator>(at::detail::createCPUGenerator(seed));
    *result = reinterpret_cast<ct_generator>(made.release());
  });
}

void ct_generator_release(ct_generator held) { delete generator(held); }

ct_error ct_generator_get_state(ct_generator held, ct_tensor *state) {
  return guarded([&] { *state = released(generator(held)->get_state()); });
}

ct_error ct_generator_set_state(ct_generator held, ct_tensor state) {
  return guarded([&] { generator(held)->set_state(borrowed(state)); });
}

ct_error ct_set_threads(int32_t count) {
  return guarded([&] { at::set_num_threads(count); });
}

int32_t ct_threads(void) { return at::get_num_threads(); }

ct_error ct_at_once(int64_t count, void (*work)(void *context, int64_t index), void *context) {
  return guarded([&] {
    // at::parallel_for is a pragma in a header, which does nothing without the compiler's OpenMP.
    const int threads = at::get_num_threads();
    const auto restored = c10::make_scope_exit([&] { at::set_num_threads(threads); });
    const int part = std::max<int64_t>(1, threads / std::max<int64_t>(1, count));
    // A future of std::async waits for its thread when it goes, also where the next one cannot be started.
    std::vector<std::future<void>> running;
    for (int64_t index = 0; index < count; ++index) {
      running.push_back(std::async(std::launch::async, [=] {
        // A thread's first question takes the number over that any thread was given last, so it comes before its own number.
        at::get_num_threads();
        at::set_num_threads(part);
        work(context, index);
      }));
    }
    for (auto &one : running) one.get();
  });
}

bool ct_has_cuda(void) {
#ifdef __linux__
  // The GPU half of a CUDA build registers itself when it is loaded, and nothing here is linked to it: the same program runs with either
  // build. Its place is that of libtorch_cpu. libtorch looks for it once, so this comes first.
  static void *const gpu_half = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL);
  (void)gpu_half;
#endif
  return at::hasCUDA();
}

bool ct_has_mps(void) { return at::hasMPS(); }

const char *ct_version(void) { return TORCH_VERSION; }

ct_error ct_autocast(ct_device number, int32_t *dtype) {
  return guarded([&] {
    const auto type = device(number).type();
    // Shapes alone are computed in no type.
    const bool isOn = type != at::kMeta && at::autocast::is_autocast_enabled(type);
    *dtype = isOn ? static_cast<int32_t>(at::autocast::get_autocast_dtype(type)) : -1;
  });
}

ct_error ct_set_autocast(ct_device number, int32_t dtype) {
  return guarded([&] {
    const auto type = device(number).type();
    if (type == at::kMeta) return;
    at::autocast::set_autocast_enabled(type, dtype >= 0);
    if (dtype >= 0) at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(dtype));
    // libtorch's cache of casts is one for all threads: whether a weight is cast once or twice, and its gradient added up in
    // 16 or in 32 bits, would depend on what other threads do.
    at::autocast::set_autocast_cache_enabled(false);
  });
}

ct_error ct_throw(int32_t kind) {
  return guarded([&] {
    switch (kind) {
    case 0: TORCH_CHECK(false, "a c10::Error");
    case 1: throw std::invalid_argument("an invalid argument");
    case 2: throw std::bad_alloc();
    default: throw 42;
    }
  });
}
