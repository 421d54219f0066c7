// Where tasks come from: JSONL files, and seeded generators whose training and held-out halves never meet.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpo/config.h"
#include "grpo/task.h"

namespace grpo {

/// What was left out, as it could not be used, and why the first of it was; and what else is to be told of the files.
struct LeftOut {
  std::size_t count = 0, of = 0;
  std::vector<std::string> first = {};
  std::vector<std::string> remarks = {};  ///< such as a key that looks like a misspelt one; each once

  void add(std::string_view why);
  void add(const Error& error);  ///< without its room
  void add(const LeftOut& other);
  /// "2 of 90 tasks are left out: data.jsonl:3: expected …; data.jsonl:70: …"
  std::string text(std::string_view what = "tasks") const;
};

/// What happens to tasks of a file that cannot be used: lines that are none, and prompts that do not fit the model.
enum class BadTasks { drop, refuse };
template <>
struct EnumNames<BadTasks> {
  static constexpr std::array<std::pair<BadTasks, std::string_view>, 2> values{
      {{BadTasks::drop, "drop"}, {BadTasks::refuse, "refuse"}}};
};

/// The tasks of a JSONL file, one object a line: `prompt` (a string that is not empty), and optionally `id` (default
/// "FILE-STEM:LINE"), `answer` (a string or a number), `kind`, `language` ("en"; one that language.h knows, or ""). A
/// conversation is a list of {"role", "content"}, `prompt` or else `messages`, whose last turn is not the assistant's.
/// Keys may be null. Other keys are whoever's: one that is nearly a known one which the line lacks is remarked on in
/// `left_out`. Blank lines are passed over. A line that is none of this is an Error "[task] FILE:LINE: expected …, got
/// …", or, with `drop`, counted in `left_out`. Throws when there is no task.
std::vector<Task> read_tasks(const std::filesystem::path& file, BadTasks on_bad = BadTasks::refuse,
                             LeftOut* left_out = nullptr);

/// A task and a completion of it to imitate.
struct Demonstration {
  Task task;
  std::string completion;  ///< as the policy should write it, without end-of-sequence
};

/// The demonstrations of a JSONL file: what read_tasks reads, and `completion` (a text that is not empty, or a list of
/// the assistant's turn); or a conversation that ends with that. Throws Error as read_tasks does, or fills `left_out`.
std::vector<Demonstration> read_demonstrations(const std::filesystem::path& file, BadTasks on_bad = BadTasks::refuse,
                                               LeftOut* left_out = nullptr);

/// Why a task cannot be used, "" when it can; Rollout::refusal and Scorer::refusal are two.
using TaskCheck = std::function<std::string(const Task&)>;

/// Takes out of `tasks` those that `check` (which may be empty) has something to say about, and counts them. With
/// `refuse` the first of them is an Error.
void leave_out(std::vector<Task>& tasks, const TaskCheck& check, BadTasks on_bad, LeftOut& left_out);

/// general: requests without a reference answer; see general.h.
enum class TaskGenerator { arithmetic, countdown, general };
template <>
struct EnumNames<TaskGenerator> {
  static constexpr std::array<std::pair<TaskGenerator, std::string_view>, 3> values{
      {{TaskGenerator::arithmetic, "arithmetic"},
       {TaskGenerator::countdown, "countdown"},
       {TaskGenerator::general, "general"}}};
};

/// Problems "a operator b". a+b and b+a are one problem (so are a*b and b*a); a-b only has a ≥ b.
struct ArithmeticConfig {
  std::int64_t max_operand = 99;
  std::string operators = "+-";
  double story_share = 0;

  template <class V>
  void visit(V& v) {
    // Squares and the number of problems fit 64 bits.
    v("max_operand", max_operand, "operands are 0 to this", at_least(0).at_most(1e9));
    v("operators", operators, "some of + - *");
    v("story_share", story_share, "share of the prompts that tell a little story instead: Mia has 47 books and …",
      at_least(0).at_most(1));
  }
  void validate() const;
};

/// Problems "reach the target from these numbers, each used once, with + - * /", solvable by construction. One problem
/// is one multiset of numbers and one target.
struct CountdownConfig {
  int min_numbers = 3, max_numbers = 4;
  std::int64_t max_number = 20, min_target = 10, max_target = 99;
  std::string operators = "+-*/";
  int problems = 20000;

  template <class V>
  void visit(V& v) {
    v("min_numbers", min_numbers, "fewest numbers given", at_least(1).at_most(8));
    v("max_numbers", max_numbers, "most numbers given", at_least(1).at_most(8));
    v("max_number", max_number, "numbers are 1 to this", at_least(1).at_most(1000));
    v("min_target", min_target, "smallest target", at_least(1));
    v("max_target", max_target, "largest target", at_least(1));
    v("operators", operators, "some of + - * /, + among them: what prompts ask for and worked solutions use");
    v("problems", problems, "distinct problems to make, fewer where there are no more", at_least(1).at_most(1e7));
  }
  void validate() const;
};

struct TasksConfig {
  std::string file, heldout_file;
  BadTasks on_bad = BadTasks::drop;
  TaskGenerator generator = TaskGenerator::arithmetic;
  ArithmeticConfig arithmetic;
  CountdownConfig countdown;
  std::vector<std::string> languages = {"en"};
  double heldout_share = 0.1;
  std::uint64_t seed = 0;

  template <class V>
  void visit(V& v) {
    v("file", file, "JSONL file of tasks, instead of the generator");
    v("heldout_file", heldout_file, "JSONL file of held-out tasks; without one a share of `file` is held out");
    v("on_bad", on_bad,
      "lines of these files that are no task, and tasks too long for the model: drop them, with a count and the first "
      "of them in the log, or refuse to start");
    v("generator", generator, "what writes the tasks");
    v("arithmetic", arithmetic, "the arithmetic generator");
    v("countdown", countdown, "the countdown generator");
    v("languages", languages, "languages of generated prompts: en, ko", {"en", "ko"});
    v("heldout_share", heldout_share, "share of the problems that is never trained on", at_least(0).below(1));
    v("seed", seed,
      "seed of the order and the wording; 0: that of the run. Which problems are held out does not depend on it");
  }
  void validate() const;
  /// With `run_seed` for a seed that is 0.
  TasksConfig seeded(std::uint64_t run_seed) const;
};

enum class Split { train, heldout };

/// An endless stream of the tasks of one split. Every epoch goes once through all of them in a pseudo-random order of
/// its own; order and wording are a pure function of (seed, epoch, place), so one integer is the whole state.
///
/// The split of a generated problem is decided by a hash of its canonical form ("47+85", "24 from 2 3 5 7") alone:
/// never by seed, wording, operand order or the generator's ranges. The split of a task from `file` is decided by a
/// hash of its prompt; with a `heldout_file` the split is that of the files, minus the training tasks whose prompt is
/// held out.
///
/// Tasks that cannot be used are not part of the stream, which is the same whenever it is made: those of a file are
/// left out when it is read, generated ones are stepped over.
class TaskStream {
 public:
  /// `check` (optional) says which tasks cannot be used. Throws Error for files without tasks, when the split has no
  /// tasks, and where config.on_bad says so for what is left out.
  explicit TaskStream(const TasksConfig& config, Split split = Split::train, const TaskCheck& check = nullptr);
  ~TaskStream();
  TaskStream(TaskStream&&) noexcept;
  TaskStream& operator=(TaskStream&&) noexcept;

  /// The next `count` tasks.
  std::vector<Task> take(std::size_t count);

  /// Tasks to look at before any work: all of a file, the first ones of a generator. They stay where they are.
  std::vector<Task> preview() const;

  /// The state, for a checkpoint: seek(cursor()) on a stream with the same config changes nothing. It grows with every
  /// task taken, by more than 1 where it steps over tasks of the other split; a new stream is at 0.
  std::uint64_t cursor() const { return cursor_; }
  void seek(std::uint64_t cursor) { cursor_ = cursor; }

  /// Distinct problems in the split, which is the tasks in an epoch. Counts them one by one.
  std::size_t size() const;

  /// Of the files.
  const LeftOut& left_out() const;

 private:
  friend std::vector<Task> heldout_tasks(const TasksConfig& config, std::size_t count, const TaskCheck& check,
                                         LeftOut* left_out);
  struct Source;
  std::vector<Task> take_before(std::uint64_t end, std::size_t count);

  std::unique_ptr<const Source> source_;
  std::uint64_t cursor_ = 0;
};

/// `count` held-out tasks, none of them twice, or all if there are fewer. The same for every seed, so that runs
/// compare. `check` and `left_out` (optional) are as for a TaskStream.
std::vector<Task> heldout_tasks(const TasksConfig& config, std::size_t count, const TaskCheck& check = nullptr,
                                LeftOut* left_out = nullptr);

}  // namespace grpo
