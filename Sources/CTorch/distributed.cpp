// Processes that compute together: libtorch's c10d, which torch.distributed is made of, with gloo between them.
#include "guard.h"
#define USE_C10D_GLOO
#include <chrono>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

using namespace ctorch;

namespace {

struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> backend;
};

Group &group(ct_group held) { return *reinterpret_cast<Group *>(held); }

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

std::vector<uint8_t> bytes(const char *text) { return std::vector<uint8_t>(text, text + std::strlen(text)); }

} // namespace

ct_error ct_group_join(
  const char *host, int32_t port, bool hosts_store, const char *prefix, ct_device number, int32_t rank, int32_t size,
  double seconds_to_join, double seconds_to_wait, bool (*goes_on)(void *), void *context, ct_group *result) {
  return guarded([&] {
    TORCH_CHECK(device(number).is_cpu(), "gloo exchanges what is in main memory; there is nothing here for ", device(number));
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = hosts_store;
    options.numWorkers = size;
    options.timeout = milliseconds(seconds_to_join);
    // What libtorch itself waits for cannot be stopped.
    options.waitWorkers = false;
    auto made = std::make_unique<Group>();
    made->store =
      c10::make_intrusive<c10d::PrefixStore>(prefix, c10::make_intrusive<c10d::TCPStore>(std::string(host), options));
    const auto end = std::chrono::steady_clock::now() + milliseconds(seconds_to_join);
    for (auto there = made->store->add("there", 1); there < size; there = made->store->add("there", 0)) {
      TORCH_CHECK(goes_on(context), "stopped while ", there, " of ", size, " were there");
      TORCH_CHECK(std::chrono::steady_clock::now() < end, "only ", there, " of ", size, " were there in time");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    made->backend = c10::make_intrusive<c10d::ProcessGroupGloo>(
      c10::make_intrusive<c10d::PrefixStore>("gloo", made->store), rank, size,
      c10d::ProcessGroupGloo::Options::create_default(milliseconds(seconds_to_join)));
    // The store may go with the first of them, so nobody leaves before all have read there what they need.
    made->backend->barrier()->wait();
    made->backend->setTimeout(milliseconds(seconds_to_wait));
    *result = reinterpret_cast<ct_group>(made.release());
  });
}

ct_error ct_group_release(ct_group held) {
  return guarded([&] { delete &group(held); });
}

ct_error ct_group_sum(ct_group held, ct_tensor tensor) {
  return guarded([&] {
    std::vector<at::Tensor> list{borrowed(tensor)};
    group(held).backend->allreduce(list)->wait();
  });
}

ct_error ct_group_broadcast(ct_group held, ct_tensor tensor, int32_t from) {
  return guarded([&] {
    std::vector<at::Tensor> list{borrowed(tensor)};
    c10d::BroadcastOptions options;
    options.rootRank = from;
    group(held).backend->broadcast(list, options)->wait();
  });
}

ct_error ct_group_barrier(ct_group held) {
  return guarded([&] { group(held).backend->barrier()->wait(); });
}

ct_error ct_group_claim(ct_group held, const char *key, const char *name, bool *claimed) {
  return guarded([&] {
    const auto own = bytes(name);
    // An expected value of nothing stands for a key that is not there.
    *claimed = group(held).store->compareSet(key, {}, own) == own;
  });
}

ct_error ct_group_append(ct_group held, const char *key, const char *text) {
  return guarded([&] { group(held).store->append(key, bytes(text)); });
}

ct_error ct_group_get(ct_group held, const char *key, char **text) {
  return guarded([&] {
    // To get what is not there would wait for it.
    const bool exists = group(held).store->check({key});
    const auto value = exists ? group(held).store->get(key) : std::vector<uint8_t>();
    *text = message(std::string(value.begin(), value.end()).c_str());
  });
}
