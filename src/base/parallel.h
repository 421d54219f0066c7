// The CPU kernels' thread pool. Work is handed out task by task; kernels are written so that no result depends on who
// did which task.
#pragma once

#include <cstdint>

namespace grpo {

/// A reference to a callable `void(int64_t task)`; it does not own what it refers to.
class TaskRef {
 public:
  template <class F>
  TaskRef(const F& f)  // NOLINT: converts from any lambda at the call site
      : object_(&f), call_([](const void* object, int64_t task) { (*static_cast<const F*>(object))(task); }) {}
  void operator()(int64_t task) const { call_(object_, task); }

 private:
  const void* object_;
  void (*call_)(const void*, int64_t);
};

/// Runs f(0) … f(tasks − 1), on all threads of the pool, and returns when all are done. A call from inside a task, or
/// while another thread's call is running, runs its tasks on the calling thread. The first exception is rethrown.
void parallel_for(int64_t tasks, TaskRef f);

/// Threads that a call from here would use, the caller included: 1 inside a task. The default is the number of cores
/// (or OMP_NUM_THREADS).
int num_threads();
void set_num_threads(int threads);

}  // namespace grpo
