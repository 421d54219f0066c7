// What a hostile program may not do, tried from the inside.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "error_of.h"
#include "grpo/sandbox.h"

namespace grpo {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string& unavailable() {
  static const std::string why = Sandbox::why_unavailable();
  return why;
}

class SandboxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!unavailable().empty()) GTEST_SKIP() << unavailable();
  }

  const Sandbox& sandbox() {
    static const Sandbox sandbox;
    return sandbox;
  }
  RunResult python(const std::string& source, const Limits& limits = kShort, std::string_view input = "") {
    return sandbox().run(Program{Language::python, source}, input, limits);
  }
  RunResult cpp(const std::string& source, const Limits& limits = kShort) {
    return sandbox().run(Program{Language::cpp, source}, "", limits);
  }

  inline static const Limits kShort{.cpu_seconds = 2, .wall_seconds = 10, .memory_bytes = 256 << 20};
};

/// The processes of this machine that gave themselves `name`.
std::vector<std::filesystem::path> processes_named(const std::string& name) {
  std::vector<std::filesystem::path> found;
  for (const auto& folder : std::filesystem::directory_iterator("/proc")) {
    std::string line;
    std::getline(std::ifstream(folder.path() / "comm"), line);
    if (line == name) found.push_back(folder.path());
  }
  return found;
}

std::string unique_name(const char* what) { return std::string(what) + std::to_string(::getpid()); }

std::string naming_itself(const std::string& name) {
  return "import ctypes, os, time\nctypes.CDLL(None).prctl(15, b'" + name + "', 0, 0, 0)\n";
}

void expect_none_left(const std::string& name) {
  for (int tries = 0; tries < 100 && !processes_named(name).empty(); ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(processes_named(name).empty());
}

// ---- What must work -------------------------------------------------------------------------------------------------

TEST_F(SandboxTest, RunsPython) {
  const RunResult result = python("a, b = map(int, input().split())\nprint(a + b)\n", kShort, "2 3\n");
  EXPECT_EQ(result.outcome, Outcome::ok) << result.errors;
  EXPECT_EQ(result.output, "5\n");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_FALSE(result.truncated);
}

TEST_F(SandboxTest, CompilesOnceAndRunsCpp) {
  const Build built = sandbox().build({Language::cpp,
                                       "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; "
                                       "std::cout << a + b << '\\n'; }"});
  ASSERT_EQ(built.result.outcome, Outcome::ok) << built.result.errors;
  EXPECT_EQ(sandbox().run(built.executable, "2 3", kShort).output, "5\n");
  EXPECT_EQ(sandbox().run(built.executable, "-2 3", kShort).output, "1\n");
}

TEST_F(SandboxTest, TellsHowARunEnded) {
  EXPECT_EQ(python("raise ValueError('no')").outcome, Outcome::runtime_error);
  EXPECT_THAT(python("raise ValueError('no')").errors, HasSubstr("ValueError: no"));
  EXPECT_EQ(python("import sys; sys.exit(7)").exit_code, 7);
  EXPECT_EQ(python("import os; os.abort()").exit_code, 128 + 6);
  EXPECT_EQ(python("import os; os.close(1); os.close(2)").outcome, Outcome::ok);
  EXPECT_EQ(sandbox().build({Language::cpp, "int main() { return x; }"}).result.outcome, Outcome::compile_error);
}

TEST_F(SandboxTest, HashesTheSameInEveryRun) {
  EXPECT_EQ(python("print(hash('word'))").output, python("print(hash('word'))").output);
}

TEST_F(SandboxTest, ThreadsShareOne) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i)
        EXPECT_EQ(python("print(input())", kShort, std::to_string(100 * t + i)).output,
                  std::to_string(100 * t + i) + "\n");
    });
  for (std::thread& each : threads) each.join();
}

TEST_F(SandboxTest, APairHasTwoPipesBetweenIt) {
  const Executable lead{Language::python,
                        "import os\nto, back = os.fdopen(3, 'w'), os.fdopen(4)\nprint('21', file=to, flush=True)\n"
                        "print('twice is', back.readline(), end='')\n"};
  const Executable peer{Language::python, "while True:\n    print(2 * int(input()), flush=True)\n"};
  const Sandbox::Pair pair = sandbox().run_pair(lead, "", peer, kShort);
  EXPECT_EQ(pair.lead.outcome, Outcome::ok) << pair.lead.errors;
  EXPECT_EQ(pair.lead.output, "twice is 42\n");
  EXPECT_NE(pair.peer.outcome, Outcome::infrastructure) << pair.peer.errors;
  EXPECT_EQ(pair.peer.output, "") << "it went to the lead";
}

TEST_F(SandboxTest, WorksForAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "expected root, which can become another user; the other tests cover this one";
  const pid_t child = ::fork();
  if (child == 0) {
    const bool dropped = ::setgroups(0, nullptr) == 0 && ::setresgid(1000, 1000, 1000) == 0 &&
                         ::setresuid(1000, 1000, 1000) == 0 && ::chdir("/") == 0;
    if (!dropped) ::_exit(2);
    const std::string why = Sandbox::why_unavailable();
    if (!why.empty()) {
      std::fprintf(stderr, "%s\n", why.c_str());
      ::_exit(3);
    }
    const Sandbox mine;
    const RunResult sum = mine.run(Program{Language::python, "print(1 + 1)"}, "", kShort);
    const RunResult bomb = mine.run(Program{Language::python,
                                            "import os, time\nn = 0\ntry:\n  while True:\n    if os.fork() == 0: "
                                            "time.sleep(60)\n    n += 1\nexcept OSError: print(n)\n"},
                                    "", kShort);
    ::_exit(sum.output == "2\n" && std::atoi(bomb.output.c_str()) > 0 && std::atoi(bomb.output.c_str()) <= 16 ? 0 : 4);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// ---- What fails closed ----------------------------------------------------------------------------------------------

TEST(SandboxSetup, RefusesToRunUnconfined) {
  EXPECT_THAT(Sandbox::why_unavailable({.bwrap = "/usr/bin/no-such-bwrap"}), HasSubstr("apt install bubblewrap"));
  EXPECT_THAT(Sandbox::why_unavailable({.bwrap = "/usr/bin/false"}), HasSubstr("Without a sandbox no program is run"));
  EXPECT_THAT(Sandbox::why_unavailable({.bwrap = "/usr/bin/true"}), HasSubstr("Without a sandbox no program is run"));
  EXPECT_THAT(error_of([] { Sandbox sandbox({.bwrap = "/usr/bin/true"}); }), HasSubstr("[sandbox] expected"));
  EXPECT_THAT(Sandbox::why_unavailable({.python = "/opt/python3"}), HasSubstr("below /usr"));
}

TEST_F(SandboxTest, RefusesLimitsThatAreNone) {
  const auto refused = [&](Limits limits) { return error_of([&] { python("", limits); }); };
  EXPECT_THAT(refused({.cpu_seconds = 0}), HasSubstr("cpu_seconds"));
  EXPECT_THAT(refused({.wall_seconds = 0}), HasSubstr("wall_seconds"));
  EXPECT_THAT(refused({.memory_bytes = 1}), HasSubstr("memory_bytes"));
  EXPECT_THAT(refused({.processes = 1}), HasSubstr("processes"));
  EXPECT_THAT(refused({.file_bytes = 0}), HasSubstr("file_bytes"));
  EXPECT_THAT(refused({.output_bytes = 0}), HasSubstr("output_bytes"));
}

// ---- Time, memory, processes, output --------------------------------------------------------------------------------

TEST_F(SandboxTest, EndsASleeper) {
  const RunResult result = python("import time; time.sleep(60)", {.wall_seconds = 1});
  EXPECT_EQ(result.outcome, Outcome::timeout);
  EXPECT_LT(result.seconds, 5);
}

TEST_F(SandboxTest, EndsAProgramThatStopsItself) {
  EXPECT_EQ(python("import os; os.kill(os.getpid(), 19)", {.wall_seconds = 1}).outcome, Outcome::timeout);
}

TEST_F(SandboxTest, EndsALoopByItsProcessorTime) {
  const RunResult result = python("while True: pass", {.cpu_seconds = 1, .wall_seconds = 60});
  EXPECT_EQ(result.outcome, Outcome::timeout);
  EXPECT_LT(result.seconds, 30);
  // Who ignores the signal is killed a second later.
  EXPECT_NE(python("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
                   {.cpu_seconds = 1, .wall_seconds = 60})
                .outcome,
            Outcome::ok);
}

TEST_F(SandboxTest, BoundsAForkBomb) {
  const std::string name = unique_name("bomb");
  const RunResult counted = python(naming_itself(name) +
                                   "n = 0\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(60)\n    n += 1\n"
                                   "except OSError: print(n)\n");
  EXPECT_EQ(counted.outcome, Outcome::ok) << counted.errors;
  EXPECT_GT(std::atoi(counted.output.c_str()), 0);
  EXPECT_LE(std::atoi(counted.output.c_str()), kShort.processes);
  const RunResult wild = python(naming_itself(name) + "while True:\n  try: os.fork()\n  except OSError: pass\n",
                                {.cpu_seconds = 1, .wall_seconds = 2});
  EXPECT_NE(wild.outcome, Outcome::ok);
  EXPECT_NE(wild.outcome, Outcome::infrastructure);
  expect_none_left(name);
}

TEST_F(SandboxTest, EndsDaemonsWithTheProgram) {
  const std::string name = unique_name("daemon");
  const auto start = std::chrono::steady_clock::now();
  const RunResult result =
      python(naming_itself(name) +
             "for _ in range(2):\n  if os.fork():\n    time.sleep(0.1); os._exit(0)\n  os.setsid()\n"
             "os.closerange(0, 64)\ntime.sleep(60)\n");
  EXPECT_EQ(result.outcome, Outcome::ok);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  expect_none_left(name);
}

TEST_F(SandboxTest, BoundsMemory) {
  EXPECT_EQ(python("x = bytearray(1 << 32)").outcome, Outcome::memory);
  EXPECT_EQ(
      cpp("#include <vector>\nint main() { std::vector<std::vector<char>> all; for (;;) all.emplace_back(1 << 24, "
          "'x'); }")
          .outcome,
      Outcome::memory);
}

TEST_F(SandboxTest, IsTheFirstToGoWhereMemoryRunsOut) {
  const std::string name = unique_name("first");
  std::thread other([&] { python(naming_itself(name) + "time.sleep(60)", {.wall_seconds = 2}); });
  std::string score;
  for (int tries = 0; tries < 200 && score.empty(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    for (const auto& process : processes_named(name)) std::getline(std::ifstream(process / "oom_score_adj"), score);
  }
  other.join();
  EXPECT_EQ(score, "1000");
  expect_none_left(name);
}

TEST_F(SandboxTest, BoundsFiles) {
  const RunResult result = python(
      "import os\ntotal = 0\ntry:\n  for i in range(1000):\n    with open(f'/tmp/{i}', 'wb', 0) as f:\n"
      "      total += f.write(bytes(1 << 20))\nexcept OSError as error: print(total, error)\n",
      {.file_bytes = 8 << 20});
  EXPECT_LE(std::atoll(result.output.c_str()), 8 << 20);
  EXPECT_THAT(result.output, HasSubstr("No space left"));
  EXPECT_THAT(python("import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nf = open('/tmp/a', 'wb')\n"
                     "f.truncate(1 << 40)")
                  .errors,
              HasSubstr("File too large"));
}

TEST_F(SandboxTest, BoundsOutput) {
  const RunResult result = python("while True: print('x' * 1000)", {.output_bytes = 100'000});
  EXPECT_EQ(result.outcome, Outcome::output_limit);
  EXPECT_EQ(result.output.size(), 100'000U);
  EXPECT_TRUE(result.truncated);
  const RunResult errors = python("import sys\nfor _ in range(1000): sys.stderr.write('x' * 1000)\nprint('done')",
                                  {.output_bytes = 100'000});
  EXPECT_EQ(errors.outcome, Outcome::ok);
  EXPECT_EQ(errors.output, "done\n");
  EXPECT_EQ(errors.errors.size(), 100'000U);
  EXPECT_TRUE(errors.truncated);
}

TEST_F(SandboxTest, SurvivesDeepRecursion) {
  EXPECT_EQ(cpp("int f(int n) { volatile char pad[1000]; pad[0] = char(n); return f(n + 1) + pad[0]; }\n"
                "int main() { return f(0); }")
                .outcome,
            Outcome::runtime_error);
  const Outcome outcome = python("import sys\nsys.setrecursionlimit(1 << 30)\nf = lambda x: repr(f(x))\nf(1)").outcome;
  EXPECT_THAT(outcome, AnyOf(Outcome::runtime_error, Outcome::memory, Outcome::timeout));
}

// ---- Files, network, system calls -----------------------------------------------------------------------------------

TEST_F(SandboxTest, SeesNoFilesOfTheHost) {
  const std::filesystem::path secret = std::filesystem::path(testing::TempDir()) / unique_name("secret");
  std::ofstream(secret) << "the expected output";
  ::setenv("GRPO_TEST_SECRET", "the expected output", 1);
  const RunResult result = python(
      "import os\nhost = '" + secret.string() +
      "'\nos.symlink('/etc/shadow', '/tmp/s'); os.symlink(host, '/tmp/h')\n"
      "for path in ['/etc/shadow', '/etc/passwd', '/tmp/s', '/tmp/h', host, '/tmp/../etc/shadow', "
      "'/proc/self/environ',\n"
      "             '/proc/1/root/etc/shadow', '/sys/kernel/uevent_seqnum', '/dev/mem', '/dev/kmsg', '/dev/tty']:\n"
      "  try: print('read', path, open(path, 'rb').read(100))\n  except OSError: pass\n"
      "for path in ['/root', '/home', '/var', '/proc', '/sys', '/run', '/mnt', '/opt']:\n"
      "  if os.path.exists(path): print('sees', path)\n"
      "try: os.chroot('/tmp'); print('chroot')\nexcept OSError: pass\n"
      "if 'GRPO_TEST_SECRET' in os.environ: print('environment')\n");
  ::unsetenv("GRPO_TEST_SECRET");
  std::filesystem::remove(secret);
  EXPECT_EQ(result.outcome, Outcome::ok) << result.errors;
  EXPECT_EQ(result.output, "");
}

TEST_F(SandboxTest, WritesOnlyInItsOwnTmp) {
  const std::string name = unique_name("written");
  const RunResult result = python(
      "import os\nfor folder in ['/', '/program', '/usr', '/usr/bin', '/dev', '/etc', '/bin', "
      "'/lib', '/dev/shm', '/tmp']:\n  try: open(folder + '/" +
      name +
      "', 'w'); print(folder)\n  except OSError: pass\n"
      "try: open('/program/main', 'w'); print('itself')\nexcept OSError: pass\n"
      "try: os.chmod('/program/main', 0o777); print('chmod')\nexcept OSError: pass\n");
  EXPECT_EQ(result.output, "/tmp\n") << result.errors;
  EXPECT_FALSE(std::filesystem::exists("/tmp/" + name));
  EXPECT_EQ(python("import os; print(os.listdir('/tmp'))").output, "[]\n") << "each run has a /tmp of its own";
}

TEST_F(SandboxTest, HasNoNetwork) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int local = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const std::string name = unique_name("grpo");
  sockaddr_un abstract{};
  abstract.sun_family = AF_UNIX;
  std::memcpy(abstract.sun_path + 1, name.data(), name.size());
  ASSERT_EQ(::bind(local, reinterpret_cast<sockaddr*>(&abstract),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())),
            0);
  ASSERT_EQ(::listen(local, 4), 0);
  const RunResult result = python(
      "import socket\ndef attempt(what, f):\n  try: f(); print(what)\n  except OSError: pass\n"
      "attempt('tcp', lambda: socket.create_connection(('127.0.0.1', " +
      std::to_string(ntohs(address.sin_port)) +
      ")))\nattempt('udp', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))\n"
      "attempt('ipv6', lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM))\n"
      "attempt('netlink', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))\n"
      "attempt('names', lambda: socket.getaddrinfo('example.org', 80))\n"
      "s = socket.socket(socket.AF_UNIX)\nattempt('abstract', lambda: s.connect('\\0" +
      name + "'))\nprint('tried')\n");
  ::close(listener);
  ::close(local);
  EXPECT_EQ(result.output, "tried\n") << result.errors;
}

TEST_F(SandboxTest, MakesNoDangerousSystemCalls) {
  // Descriptors of ours that stay open over exec, at the numbers that bubblewrap is not given.
  std::vector<int> ours;
  for (const int number : {3, 4})
    if (::fcntl(number, F_GETFD) < 0) ours.push_back(::dup2(STDERR_FILENO, number));
  const RunResult result = cpp(R"cpp(
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
    void attempt(const char* what, long result) {
      if (result != -1 || (errno != EPERM && errno != ENOSYS)) std::printf("%s: %ld, errno %d\n", what, result, errno);
    }
    int main() {
      for (int i = 3; i < 1024; ++i)
        if (struct stat s; fstat(i, &s) == 0) std::printf("descriptor %d is open\n", i);
      if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) std::puts("may gain privileges");
      if (prctl(PR_GET_SECCOMP) != 2) std::puts("no filter");
      if (geteuid() == 0 || getegid() == 0) std::puts("root");
      attempt("ptrace", syscall(SYS_ptrace, 0, 0, 0, 0));
      attempt("unshare", syscall(SYS_unshare, 0x10000000));
      attempt("clone", syscall(SYS_clone, 0x10000000 | 17, 0, 0, 0, 0));
      attempt("clone3", syscall(SYS_clone3, 0, 0));
      attempt("setns", syscall(SYS_setns, 0, 0));
      attempt("mount", syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, 0));
      attempt("umount2", syscall(SYS_umount2, "/tmp", 0));
      attempt("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
      attempt("chroot", syscall(SYS_chroot, "/tmp"));
      attempt("keyctl", syscall(SYS_keyctl, 0, -3, 1));
      attempt("add_key", syscall(SYS_add_key, "user", "a", "b", 1, -3));
      attempt("bpf", syscall(SYS_bpf, 5, 0, 0));
      attempt("perf_event_open", syscall(SYS_perf_event_open, 0, 0, -1, -1, 0));
      attempt("userfaultfd", syscall(SYS_userfaultfd, 1));
      attempt("io_uring_setup", syscall(SYS_io_uring_setup, 1, 0));
      attempt("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
      attempt("memfd_create", syscall(SYS_memfd_create, "a", 0));
      attempt("shmget", syscall(SYS_shmget, 0, 4096, 01600));
      attempt("process_vm_readv", syscall(SYS_process_vm_readv, getpid(), 0, 0, 0, 0, 0));
      attempt("open_by_handle_at", syscall(SYS_open_by_handle_at, 0, 0, 0));
      attempt("TIOCSTI", ioctl(0, 0x5412, "x"));
      attempt("TIOCSTI, upper half set", syscall(SYS_ioctl, 0, 0x100005412L, "x"));
      attempt("socket", syscall(SYS_socket, 2, 1, 0));
#ifdef __x86_64__
      if (fork() == 0) {  // the same by the old gate: getpid of 32-bit programs
        long number = 20;
        asm volatile("int $0x80" : "+a"(number)::"memory", "r8", "r9", "r10", "r11");
        std::printf("32-bit calls: %ld\n", number);
        std::fflush(stdout);
        _exit(0);
      }
      wait(nullptr);
#endif
    })cpp");
  for (const int number : ours) ::close(number);
  EXPECT_EQ(result.outcome, Outcome::ok) << result.errors;
  EXPECT_EQ(result.output, "");
}

TEST_F(SandboxTest, IsNotBroughtDownFromInside) {
  for (const std::string victim : {"1", "-1", "os.getppid()", "0"}) {
    const RunResult result = python(
        "import os, signal\nsignal.signal(2, signal.SIG_IGN)\nfor s in (15, 2, 9):\n"
        "  try: os.kill(" +
        victim + ", s)\n  except OSError: pass\nprint('alive')");
    EXPECT_NE(result.outcome, Outcome::infrastructure) << victim;
    EXPECT_LT(result.seconds, 8) << victim;
  }
  EXPECT_EQ(python("import os\nos.closerange(0, 1024)\nos.kill(1, 9)\nos._exit(3)").exit_code, 3);
}

// ---- The compiler ---------------------------------------------------------------------------------------------------

TEST_F(SandboxTest, BoundsTheCompiler) {
  SandboxConfig config;
  config.compile.cpu_seconds = 2;
  config.compile.wall_seconds = 15;
  config.compile.memory_bytes = 256 << 20;
  config.compile.file_bytes = 16 << 20;
  const Sandbox strict(config);
  const auto built = [&](const std::string& source) { return strict.build({Language::cpp, source}).result; };
  for (const std::string file : {"/dev/zero", "/dev/random", "/etc/shadow", "/proc/self/environ"})
    EXPECT_EQ(built("#include \"" + file + "\"\nint main() {}").outcome, Outcome::compile_error) << file;
  EXPECT_EQ(built("template <int n> struct A { using T = typename A<n + 1>::T; };\nA<0>::T x;\nint main() {}").outcome,
            Outcome::compile_error);
  EXPECT_EQ(
      built("template <int n, int m> struct A { static const int v = A<n - 1, 2 * m>::v + A<n - 1, 2 * m + 1>::v; "
            "};\ntemplate <int m> struct A<0, m> { static const int v = 1; };\nint main() { return A<28, 1>::v; }")
          .outcome,
      Outcome::compile_error);
  EXPECT_EQ(built("char large[1 << 28] = {1};\nint main() {}").outcome, Outcome::compile_error);
  EXPECT_EQ(built("asm(\".incbin \\\"/etc/shadow\\\"\");\nint main() {}").outcome, Outcome::compile_error);
  EXPECT_EQ(built("#pragma GCC error \"no\"\nint main() {}").outcome, Outcome::compile_error);
  EXPECT_EQ(built("int main() {}").outcome, Outcome::ok);
}

}  // namespace
}  // namespace grpo
