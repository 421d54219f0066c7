#include "kernels/parallel.h"

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
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1);
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
    busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (sleepers_.load() > 0) wake_.notify_all();
    take();
    // A worker that has lost its core must get it back to check in: do not spin against it for long.
    for (int spins = 0; busy_.load(std::memory_order_acquire) > 0;)
      ++spins < kSpins ? pause() : std::this_thread::yield();
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
    for (;;) {
      int spins = 0;
      while (generation_.load(std::memory_order_acquire) == seen && spins++ < kSpins) pause();
      if (generation_.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return generation_.load() != seen; });
        sleepers_.fetch_sub(1);
      }
      seen = generation_.load(std::memory_order_acquire);
      if (stop_) return;
      take();
      busy_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> busy_{0}, sleepers_{0};
  std::atomic<bool> stop_{false};
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
