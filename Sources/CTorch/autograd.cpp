// Gradients: leaves, backward, and nodes whose backward is the caller's function.
#include "guard.h"
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>

using namespace ctorch;

namespace {

std::vector<at::Tensor> borrowed_list(const ct_tensor *tensors, int32_t count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (int32_t index = 0; index < count; ++index) list.push_back(borrowed(tensors[index]));
  return list;
}

class CallerNode final : public torch::autograd::Node {
public:
  CallerNode(ct_backward_function backward, void (*release)(void *), void *context)
      : backward_(backward), release_(release), context_(context) {}
  ~CallerNode() override { release_variables(); }

  // The engine calls this once a node is through and will not be needed again: what it kept goes before the rest of the graph.
  void release_variables() override {
    if (context_ != nullptr) release_(std::exchange(context_, nullptr));
  }

  torch::autograd::variable_list apply(torch::autograd::variable_list &&gradients) override {
    TORCH_CHECK(context_ != nullptr, "backward passes this node a second time; the first has to retain the graph");
    std::vector<ct_tensor> incoming;
    incoming.reserve(gradients.size());
    for (const auto &gradient : gradients) {
      incoming.push_back(gradient.defined() ? reinterpret_cast<ct_tensor>(gradient.unsafeGetTensorImpl()) : nullptr);
    }
    std::vector<ct_tensor> outgoing(num_outputs(), nullptr);
    ct_error error = backward_(
      context_, incoming.data(), static_cast<int32_t>(incoming.size()), outgoing.data(),
      static_cast<int32_t>(outgoing.size()));
    torch::autograd::variable_list results;
    results.reserve(outgoing.size());
    for (ct_tensor gradient : outgoing) {
      results.push_back(borrowed(gradient));
      if (gradient != nullptr) ct_tensor_release(gradient);
    }
    if (error != nullptr) {
      const std::string text(error);
      ct_free(error);
      TORCH_CHECK(false, text);
    }
    return results;
  }

private:
  ct_backward_function backward_;
  void (*release_)(void *);
  void *context_;
};

} // namespace

bool ct_requires_grad(ct_tensor tensor) { return impl(tensor)->requires_grad(); }

ct_error ct_set_requires_grad(ct_tensor tensor, bool value) {
  return guarded([&] { borrowed(tensor).set_requires_grad(value); });
}

ct_error ct_grad(ct_tensor tensor, ct_tensor *result) {
  return guarded([&] { *result = released(borrowed(tensor).grad()); });
}

ct_error ct_set_grad(ct_tensor tensor, ct_tensor gradient) {
  return guarded([&] { borrowed(tensor).mutable_grad() = borrowed(gradient); });
}

ct_error ct_backward(ct_tensor tensor, ct_tensor gradient, bool retain_graph) {
  return guarded([&] { torch::autograd::backward({borrowed(tensor)}, {borrowed(gradient)}, retain_graph); });
}

ct_error ct_gradients(
  const ct_tensor *outputs, const ct_tensor *output_gradients, int32_t output_count, const ct_tensor *inputs,
  int32_t input_count, bool retain_graph, bool create_graph, ct_tensor *results) {
  return guarded([&] {
    auto gradients = torch::autograd::grad(
      borrowed_list(outputs, output_count), borrowed_list(inputs, input_count),
      borrowed_list(output_gradients, output_count), retain_graph, create_graph, /*allow_unused=*/true);
    for (int32_t index = 0; index < input_count; ++index) results[index] = released(std::move(gradients[index]));
  });
}

bool ct_set_grad_enabled(bool enabled) {
  const bool former = at::GradMode::is_enabled();
  at::GradMode::set_enabled(enabled);
  return former;
}

ct_error ct_attach_backward(
  const ct_tensor *inputs, int32_t input_count, const ct_tensor *outputs, int32_t output_count,
  ct_backward_function backward, void (*release)(void *), void *context, ct_tensor *results) {
  return guarded([&] {
    auto node = c10::make_intrusive<CallerNode>(backward, release, context);
    // One edge an input, also for inputs without gradient, so that the caller's indices hold.
    torch::autograd::edge_list edges;
    for (const auto &input : borrowed_list(inputs, input_count)) {
      edges.push_back(input.requires_grad() ? torch::autograd::impl::gradient_edge(input) : torch::autograd::Edge());
    }
    node->set_next_edges(std::move(edges));
    std::vector<at::Tensor> attached;
    for (const auto &output : borrowed_list(outputs, output_count)) {
      at::Tensor result = output.detach();
      torch::autograd::set_history(result, node);
      attached.push_back(std::move(result));
    }
    for (int32_t index = 0; index < output_count; ++index) results[index] = released(std::move(attached[index]));
  });
}
