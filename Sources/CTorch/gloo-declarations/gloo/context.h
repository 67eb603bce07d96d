// As much of gloo as ProcessGroupGloo.hpp names. libtorch contains gloo, and its wheels and archives lack gloo's headers.
// Nothing of this is made or called by code that includes it: the classes stand behind shared pointers there, so neither
// their size nor the order of their functions matters.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace gloo {

namespace transport {
class Device;
class UnboundBuffer;
} // namespace transport

class Context {
public:
  void setTimeout(std::chrono::milliseconds timeout);
};

namespace rendezvous {
class Store {
public:
  virtual ~Store();
  virtual void set(const std::string &key, const std::vector<char> &data) = 0;
  virtual std::vector<char> get(const std::string &key) = 0;
  virtual void wait(const std::vector<std::string> &keys) = 0;
  virtual void wait(const std::vector<std::string> &keys, const std::chrono::milliseconds &timeout) = 0;
};
} // namespace rendezvous

} // namespace gloo
