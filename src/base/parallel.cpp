#include "base/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/thread_room.h"

namespace grpo {
namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Workers spin for a moment after each job, since decoding issues a job every few microseconds, and then sleep.
constexpr int kSpins = 4000;

class Pool {
 public:
  explicit Pool(int threads) {
    give_threads_room();
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      state_.store(next_generation());
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  void run(int64_t tasks, TaskRef f) {
    job_ = &f;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    error_ = nullptr;
    {
      std::lock_guard lock(mutex_);
      state_.store(next_generation() | kOpen, std::memory_order_release);
    }
    if (sleepers_.load() > 0) wake_.notify_all();
    take();
    // Only who has joined is waited for. A worker that has lost its core before that finds the job closed: on a machine
    // whose cores are not all there at once, waiting for it would cost a time slice for every job.
    state_.fetch_and(~kOpen, std::memory_order_acq_rel);
    const auto left = [&] { return (state_.load() & kJoined) == 0; };
    for (int spins = 0; !left() && spins < kSpins; ++spins) pause();
    if (!left()) {  // a worker has lost its core; who sleeps is put back on one sooner than who yields
      std::unique_lock lock(mutex_);
      waits_.store(true);
      left_.wait(lock, left);
      waits_.store(false);
    }
    if (error_) std::rethrow_exception(error_);
  }

  static thread_local bool inside;

 private:
  void take() {
    inside = true;
    for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) {
      try {
        (*job_)(task);
      } catch (...) {
        std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
      }
    }
    inside = false;
  }

  void work() {
    uint64_t seen = 0;
    const auto news = [&] { return state_.load(std::memory_order_acquire) >> kGenerationShift != seen; };
    for (;;) {
      for (int spins = 0; !news() && spins < kSpins; ++spins) pause();
      if (!news()) {
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, news);
        sleepers_.fetch_sub(1);
      }
      uint64_t state = state_.load(std::memory_order_acquire);
      seen = state >> kGenerationShift;
      if (stop_) return;
      while ((state & kOpen) && state >> kGenerationShift == seen)
        if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
          take();
          state_.fetch_sub(1);
          if (waits_.load()) {
            std::lock_guard lock(mutex_);
            left_.notify_one();
          }
          break;
        }
    }
  }

  // A job's generation, whether it may still be joined, and how many workers have joined and not left it.
  static constexpr int kGenerationShift = 32;
  static constexpr uint64_t kOpen = uint64_t{1} << 31, kJoined = kOpen - 1;
  uint64_t next_generation() const { return ((state_.load() >> kGenerationShift) + 1) << kGenerationShift; }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, left_;
  std::atomic<uint64_t> state_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false}, waits_{false};
  std::atomic<int64_t> next_{0};
  const TaskRef* job_ = nullptr;
  int64_t tasks_ = 0;
  std::exception_ptr error_;
};
thread_local bool Pool::inside = false;

int default_threads() {
  if (const char* text = std::getenv("OMP_NUM_THREADS"))
    if (const int n = std::atoi(text); n > 0) return n;
  cpu_set_t cores;  // what this process may use, which in a container is less than what the machine has
  if (pthread_getaffinity_np(pthread_self(), sizeof(cores), &cores) == 0) return std::max(1, CPU_COUNT(&cores));
  return std::max(1u, std::thread::hardware_concurrency());
}

std::mutex pool_mutex;
std::unique_ptr<Pool>& pool() {
  static std::unique_ptr<Pool> instance = std::make_unique<Pool>(default_threads());
  return instance;
}

}  // namespace

void parallel_for(int64_t tasks, TaskRef f) {
  std::unique_lock<std::mutex> lock;
  if (tasks > 1 && !Pool::inside) lock = std::unique_lock(pool_mutex, std::try_to_lock);
  if (lock.owns_lock() && pool()->threads() == 1) lock.unlock();  // a task may ask for num_threads
  if (!lock.owns_lock()) {
    for (int64_t task = 0; task < tasks; ++task) f(task);
    return;
  }
  pool()->run(tasks, f);
}

int num_threads() {
  if (Pool::inside) return 1;
  std::lock_guard lock(pool_mutex);
  return pool()->threads();
}

void set_num_threads(int threads) {
  std::lock_guard lock(pool_mutex);
  if (pool()->threads() != threads) pool() = std::make_unique<Pool>(std::max(1, threads));
}

}  // namespace grpo
