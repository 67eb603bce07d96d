// Counts the bytes of the tensors that a thread makes, by what libtorch's allocators report.
#include "guard.h"
#include <algorithm>
#include <c10/core/Allocator.h>
#include <c10/util/Flags.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <mutex>

C10_DECLARE_int(caffe2_log_level);

namespace {

/// Threads that work for the one that began, such as those of a backward pass, report to it, too.
class Meter final : public c10::MemoryReportingInfoBase {
public:
  void reportMemoryUsage(void *, int64_t size, size_t, size_t, c10::Device) override {
    const std::lock_guard<std::mutex> lock(mutex);
    held += size;
    peak = std::max(peak, held);
  }

  bool memoryProfilingEnabled() const override { return true; }

  void read(int64_t *held_now, int64_t *largest) const {
    const std::lock_guard<std::mutex> lock(mutex);
    *held_now = held;
    *largest = peak;
  }

private:
  mutable std::mutex mutex;
  int64_t held = 0;
  int64_t peak = 0;
};

std::shared_ptr<Meter> *meter(ct_meter held) { return reinterpret_cast<std::shared_ptr<Meter> *>(held); }

} // namespace

using namespace ctorch;

ct_error ct_meter_begin(ct_meter *result) {
  return guarded([&] {
    // Of tensors that go and were made before, libtorch would write to standard error that it does not know their size.
    if (FLAGS_caffe2_log_level < 2) FLAGS_caffe2_log_level = 2;
    auto made = std::make_unique<std::shared_ptr<Meter>>(std::make_shared<Meter>());
    c10::ThreadLocalDebugInfo::_push(c10::DebugInfoKind::PROFILER_STATE, *made);
    *result = reinterpret_cast<ct_meter>(made.release());
  });
}

void ct_meter_read(ct_meter held, int64_t *bytes, int64_t *peak) { (*meter(held))->read(bytes, peak); }

ct_error ct_meter_end(void) {
  return guarded([&] { c10::ThreadLocalDebugInfo::_pop(c10::DebugInfoKind::PROFILER_STATE); });
}

void ct_meter_release(ct_meter held) { delete meter(held); }
