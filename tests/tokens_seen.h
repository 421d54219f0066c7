// What tests count passes with.
#pragma once

#include <ATen/record_function.h>

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

namespace grpo {

/// Counts the tokens that go through policies while it lives, those of a reference among them, or through another of
/// their functions: "token_logprobs". One at a time.
class TokensSeen {
 public:
  explicit TokensSeen(const std::string& function = "hidden")
      : handle_(at::addGlobalCallback(at::RecordFunctionCallback(&TokensSeen::see).needsInputs(true))) {
    name_ = "grpo::Policy::" + function, count_ = 0;
  }
  ~TokensSeen() { at::removeCallback(handle_); }
  TokensSeen(const TokensSeen&) = delete;
  TokensSeen& operator=(const TokensSeen&) = delete;

  /// Since the last call, or the beginning.
  int64_t take() { return count_.exchange(0); }

 private:
  static std::unique_ptr<at::ObserverContext> see(const at::RecordFunction& function) {
    if (std::string_view(function.name()) == name_) count_ += function.inputs()[0].toTensor().numel();
    return nullptr;
  }
  static inline std::string name_;
  static inline std::atomic<int64_t> count_ = 0;
  at::CallbackHandle handle_;
};

}  // namespace grpo
