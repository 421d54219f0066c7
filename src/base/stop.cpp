#include "grpo/stop.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <utility>

namespace grpo {
namespace {

constexpr std::array kRequests{SIGINT, SIGTERM, SIGHUP};
constexpr int64_t kSameRequest = 200;  // milliseconds

// The handler may touch nothing but lock-free atomics, write, and sigaction.
std::atomic<bool> stop_requested{false};
std::atomic<int> stop_requested_by{0};
std::atomic<int64_t> stop_requested_at{0};  // milliseconds of the monotonic clock
std::atomic<const char*> asked_text{""}, ended_text{""};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free &&
              std::atomic<int64_t>::is_always_lock_free &&
              std::atomic<const char*>::is_always_lock_free);

void say(const char* text) {
  const int code = errno;  // the interrupted code may be about to read it
  if (*text) (void)!::write(2, text, std::strlen(text));
  errno = code;
}

void request_stop(int signal) {
  struct timespec time {};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  const int64_t now = time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
  int64_t first = 0;
  if (stop_requested_at.compare_exchange_strong(first, now)) {
    stop_requested_by.store(signal);
    stop_requested.store(true);
    say(asked_text.load());
    return;
  }
  if (now - first < kSameRequest) return;
  say(ended_text.load());
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  for (const int each : kRequests) ::sigaction(each, &plain, nullptr);
  ::raise(signal);  // delivered as this handler returns
}

void pass_over(int) {}

}  // namespace

struct StopSignal::Previous {
  std::string asked, ended;
  std::array<struct sigaction, kRequests.size()> requests;
  struct sigaction pipe;
};

StopSignal::StopSignal(std::string asked, std::string ended) : previous_(std::make_unique<Previous>()) {
  previous_->asked = std::move(asked), previous_->ended = std::move(ended);
  stop_requested_at.store(0);
  stop_requested.store(false);
  asked_text.store(previous_->asked.c_str()), ended_text.store(previous_->ended.c_str());
  struct sigaction action {};
  action.sa_flags = SA_RESTART;
  action.sa_handler = pass_over;  // not SIG_IGN, which programs that are started would inherit
  ::sigaction(SIGPIPE, &action, &previous_->pipe);
  action.sa_handler = request_stop;
  for (std::size_t i = 0; i < kRequests.size(); ++i) {
    struct sigaction& before = previous_->requests[i];
    ::sigaction(kRequests[i], nullptr, &before);
    if (kRequests[i] != SIGHUP || before.sa_handler != SIG_IGN) ::sigaction(kRequests[i], &action, nullptr);
  }
}

StopSignal::~StopSignal() {
  for (std::size_t i = 0; i < kRequests.size(); ++i) ::sigaction(kRequests[i], &previous_->requests[i], nullptr);
  ::sigaction(SIGPIPE, &previous_->pipe, nullptr);
  asked_text.store(""), ended_text.store("");
}

bool StopSignal::requested() const { return stop_requested.load(); }

int StopSignal::exit_status() const { return 128 + stop_requested_by.load(); }

void StopSignal::check() const {
  if (requested()) throw Interrupted();
}

}  // namespace grpo
