#include "grpo/sandbox.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>

#include "rewards/code/sandbox_filter.h"
#include "rewards/code/sandbox_process.h"

namespace grpo {
namespace {

constexpr const char* kSetpriv = "/usr/bin/setpriv";
constexpr const char* kPrlimit = "/usr/bin/prlimit";
constexpr const char* kChoom = "/usr/bin/choom";
constexpr const char* kProgram = "/program/main";  // inside
constexpr std::int64_t kOpenFiles = 64;
constexpr std::int64_t kStackBytes = 64 << 20;
constexpr int kSignalBase = 128;  // bwrap's exit status for a signal, as a shell's

// Descriptors of bwrap. It keeps the numbers 3 and 4 of a pair for the program.
constexpr int kToPeer = 3, kFromPeer = 4, kFilter = 5, kStatus = 6, kFile = 7;

std::string first_line_of(const char* file) {
  std::string line;
  std::getline(std::ifstream(file) >> std::ws, line);
  return line;
}

/// What most often keeps bubblewrap from working here, and how to change it.
std::string advice() {
  if (first_line_of("/proc/sys/kernel/unprivileged_userns_clone") == "0")
    return "this kernel forbids user namespaces: sysctl -w kernel.unprivileged_userns_clone=1";
  if (first_line_of("/proc/sys/user/max_user_namespaces") == "0")
    return "this kernel allows no user namespace: sysctl -w user.max_user_namespaces=15000";
  if (first_line_of("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1")
    return "AppArmor forbids user namespaces (Ubuntu since 23.10): give bwrap a profile with `userns,` in "
           "/etc/apparmor.d, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
  if (::geteuid() == 0 && first_line_of("/proc/self/uid_map").find(" 4294967295") == std::string::npos)
    return "this root is one of a user namespace: root_drops_to must be an id that is mapped in it";
  return "in a container, allow user namespaces and mounts in it (Docker: --security-opt seccomp=unconfined "
         "--security-opt apparmor=unconfined); bubblewrap must be 0.8 or newer";
}

std::vector<std::string> split_at_spaces(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

/// The last number under `key` in the JSON documents, one a line, that bwrap writes about itself.
std::optional<int> status_value(std::string_view text, std::string_view key) {
  const std::string quoted = '"' + std::string(key) + "\":";
  std::size_t at = text.rfind(quoted);
  if (at == text.npos) return {};
  at = std::min(text.find_first_not_of(' ', at + quoted.size()), text.size());
  int value = 0;
  if (std::from_chars(text.data() + at, text.data() + text.size(), value).ec != std::errc()) return {};
  return value;
}

RunResult result_of(Watched& process) {
  RunResult result;
  result.output = std::move(process.output_text);
  result.errors = std::move(process.errors_text);
  result.truncated = process.output_over || process.errors_over;
  result.seconds = process.seconds;
  // bwrap tells of an exit only once the program was started: without it, what failed is the sandbox.
  const std::optional<int> exit = status_value(process.status_text, "exit-code");
  if (process.output_over) {
    result.outcome = Outcome::output_limit;
  } else if (process.timed_out) {
    result.outcome = status_value(process.status_text, "child-pid") ? Outcome::timeout : Outcome::infrastructure;
  } else if (exit) {
    const auto said = [&](std::string_view what) { return result.errors.find(what) != std::string::npos; };
    result.exit_code = *exit;
    if (*exit == 0) {
      result.outcome = Outcome::ok;
    } else if (*exit == kSignalBase + SIGXCPU) {
      result.outcome = Outcome::timeout;
    } else if (*exit == kSignalBase + SIGKILL || said("MemoryError") || said("bad_alloc")) {
      result.outcome = Outcome::memory;
    } else {
      result.outcome = Outcome::runtime_error;
    }
  } else if (process.killed) {
    result.outcome = Outcome::ok;  // its lead ended, and with it the need for it
  }
  return result;
}

RunResult infrastructure(std::string why) {
  RunResult result;
  result.errors = std::move(why);
  return result;
}

}  // namespace

void SandboxConfig::validate() const {
  for (const auto& [key, path] : {std::pair{"python", &python}, {"compiler", &compiler}})
    if (!path->starts_with("/usr/"))
      throw Error("sandbox", key, ": expected a program below /usr, which is all that a sandbox sees, got \"", *path,
                  "\"");
  for (const std::string& flag : split_at_spaces(compiler_flags))
    if (flag.empty())
      throw Error("sandbox", "compiler_flags: expected single spaces between them, got \"", compiler_flags, '"');
}

// ---- One run --------------------------------------------------------------------------------------------------------

struct Sandbox::Job {
  std::vector<std::string> command;
  std::string_view file;  // the contents of kProgram
  std::string_view input;
  const Limits& limits;
  bool linked = false;  // with the next job, by two pipes
};

namespace {

/// Everything before the program's own command: the walls.
std::vector<std::string> walls(const SandboxConfig& config, const Limits& limits) {
  std::vector<std::string> words;
  const auto add = [&](const std::vector<std::string>& more) { words.insert(words.end(), more.begin(), more.end()); };
  const std::string drop = std::to_string(config.root_drops_to);
  if (::geteuid() == 0) add({kSetpriv, "--reuid", drop, "--regid", drop, "--clear-groups", "--inh-caps=-all", "--"});
  // Where memory runs out after all, the kernel is to end the program and not the one that trains.
  add({kChoom, "-n", "1000", "--", config.bwrap});
  constexpr const char* kWalls =
      "--unshare-user --unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup-try --die-with-parent "
      "--new-session --uid 1000 --gid 1000 --cap-drop ALL --hostname sandbox --ro-bind /usr /usr "
      "--ro-bind-try /etc/ld.so.cache /etc/ld.so.cache";
  add(split_at_spaces(kWalls));
  for (const std::string folder : {"/bin", "/lib", "/lib64"}) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink(folder, error);
    if (!error) {
      add({"--symlink", target, folder});
    } else {
      add({"--ro-bind-try", folder, folder});
    }
  }
  for (const std::string device : {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"})
    add({"--dev-bind", device, device});
  add({"--perms", "0555", "--file", std::to_string(kFile), kProgram});
  add({"--perms", "0700", "--size", std::to_string(limits.file_bytes), "--tmpfs", "/tmp"});
  add({"--remount-ro", "/", "--chdir", "/tmp"});
  add({"--seccomp", std::to_string(kFilter), "--json-status-fd", std::to_string(kStatus), "--"});
  // Inside the namespace, where the processes are counted anew. The soft limit's signal tells that it was the time.
  const auto limit = [](const char* name, std::int64_t soft, std::int64_t hard) {
    return std::string(name) + '=' + std::to_string(soft) + ':' + std::to_string(hard);
  };
  add({kPrlimit, limit("--cpu", limits.cpu_seconds, limits.cpu_seconds + 1),
       limit("--as", limits.memory_bytes, limits.memory_bytes), limit("--fsize", limits.file_bytes, limits.file_bytes),
       limit("--nproc", limits.processes, limits.processes), limit("--nofile", kOpenFiles, kOpenFiles),
       limit("--stack", kStackBytes, kStackBytes), limit("--core", 0, 0), limit("--memlock", 0, 0),
       limit("--msgqueue", 0, 0), limit("--sigpending", 256, 256), "--"});
  return words;
}

}  // namespace

std::vector<RunResult> Sandbox::run_jobs(const std::vector<Job>& jobs, double wall_seconds) const {
  std::vector<Watched> processes;
  try {
    Pipe to_next, from_next;  // of the previous job
    for (const Job& job : jobs) {
      std::vector<std::string> words = walls(config_, job.limits);
      words.insert(words.end(), job.command.begin(), job.command.end());
      Pipe output = make_pipe(), errors = make_pipe(), status = make_pipe();
      const Descriptor input = memory_file(job.input), file = memory_file(job.file), filter = memory_file(filter_);
      std::vector<std::pair<int, int>> descriptors{
          {input.number(), STDIN_FILENO},         {output.write.number(), STDOUT_FILENO},
          {errors.write.number(), STDERR_FILENO}, {filter.number(), kFilter},
          {status.write.number(), kStatus},       {file.number(), kFile}};
      if (to_next.read) {
        descriptors[0].first = to_next.read.number();
        descriptors[1].first = from_next.write.number();
      }
      Pipe to, from;
      if (job.linked) {
        to = make_pipe();
        from = make_pipe();
        descriptors.insert(descriptors.end(), {{to.write.number(), kToPeer}, {from.read.number(), kFromPeer}});
      }
      Watched process;
      process.pid = spawn(words, descriptors);
      process.output = std::move(output.read);
      process.errors = std::move(errors.read);
      process.status = std::move(status.read);
      process.limit = static_cast<std::size_t>(job.limits.output_bytes);
      processes.push_back(std::move(process));
      to_next = std::move(to);
      from_next = std::move(from);
    }
  } catch (const Error& error) {
    watch(processes, 0);  // kills those that did start
    return std::vector<RunResult>(jobs.size(), infrastructure(error.what()));
  }
  const bool all_ended = watch(processes, wall_seconds);
  std::vector<RunResult> results;
  for (Watched& each : processes) results.push_back(result_of(each));
  if (!all_ended)
    for (RunResult& each : results)
      each = infrastructure("[sandbox] expected the killed processes to end, got them still running");
  return results;
}

std::vector<std::string> Sandbox::command_of(const Executable& executable) const {
  if (executable.language == Language::cpp) return {kProgram};
  return {config_.python, "-s", "-B", kProgram};
}

// ---- The members that users call ------------------------------------------------------------------------------------

Sandbox::Sandbox(SandboxConfig config) : config_(std::move(config)), filter_(system_call_filter()) {
  grpo::validate(config_, "sandbox");
  for (const std::string& needed : {config_.bwrap, config_.python, config_.compiler, std::string(kPrlimit),
                                    std::string(kSetpriv), std::string(kChoom)})
    if (::access(needed.c_str(), X_OK) != 0)
      throw Error("sandbox", "expected the program ", needed,
                  ", got none; apt install bubblewrap util-linux python3 g++");
  const Limits limits;
  const RunResult tried =
      run_jobs({{.command = {"/usr/bin/true"}, .file = {}, .input = {}, .limits = limits}}, limits.wall_seconds)
          .front();
  if (tried.outcome != Outcome::ok)
    throw Error("sandbox", "expected bubblewrap to set up a sandbox, got ", enum_name(tried.outcome), ": ",
                tried.errors.substr(0, std::min<std::size_t>(400, tried.errors.find_last_not_of('\n') + 1)), "; ",
                advice(), ". Without a sandbox no program is run");
}

std::string Sandbox::why_unavailable(const SandboxConfig& config) {
  try {
    Sandbox sandbox(config);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

Build Sandbox::build(const Program& program) const {
  Build build;
  build.executable.language = program.language;
  if (program.language == Language::python) {
    build.result.outcome = Outcome::ok;
    build.result.exit_code = 0;
    build.executable.bytes = program.source;
    return build;
  }
  // The program leaves through standard output: no folder of the host is ever writable in there.
  constexpr const char* kScript = "out=$1; shift; \"$@\" -o \"$out\" 1>&2 && cat \"$out\"";
  std::vector<std::string> command{"/bin/sh", "-c", kScript, "sh", "/tmp/program", config_.compiler};
  for (std::string& flag : split_at_spaces(config_.compiler_flags)) command.push_back(std::move(flag));
  command.insert(command.end(), {"-x", "c++", kProgram});
  build.result =
      run_jobs({{.command = std::move(command), .file = program.source, .input = {}, .limits = config_.compile}},
               config_.compile.wall_seconds)
          .front();
  if (build.result.outcome == Outcome::ok) {
    build.executable.bytes = std::move(build.result.output);
  } else if (build.result.outcome != Outcome::infrastructure) {
    build.result.outcome = Outcome::compile_error;
  }
  build.result.output.clear();
  return build;
}

RunResult Sandbox::run(const Executable& executable, std::string_view input, const Limits& limits) const {
  validate(limits, "limits");
  return run_jobs({{.command = command_of(executable), .file = executable.bytes, .input = input, .limits = limits}},
                  limits.wall_seconds)
      .front();
}

RunResult Sandbox::run(const Program& program, std::string_view input, const Limits& limits) const {
  Build built = build(program);
  return built.result.outcome == Outcome::ok ? run(built.executable, input, limits) : std::move(built.result);
}

Sandbox::Pair Sandbox::run_pair(const Executable& lead, std::string_view lead_input, const Executable& peer,
                                const Limits& limits) const {
  validate(limits, "limits");
  std::vector<RunResult> results = run_jobs(
      {{.command = command_of(lead), .file = lead.bytes, .input = lead_input, .limits = limits, .linked = true},
       {.command = command_of(peer), .file = peer.bytes, .input = {}, .limits = limits}},
      limits.wall_seconds);
  return {std::move(results[0]), std::move(results[1])};
}

}  // namespace grpo
