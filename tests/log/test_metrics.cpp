#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "error_of.h"
#include "files.h"
#include "grpo/error.h"
#include "grpo/metrics.h"
#include "grpo/stop.h"

namespace grpo {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

class InFolder : public testing::Test {
 protected:
  Folder folder_;
};

// ----------------------------------------------------------------------------------------------------- JsonlWriter

class Jsonl : public InFolder {
 protected:
  fs::path path() const { return folder_ / "metrics.jsonl"; }
};

TEST_F(Jsonl, each_line_is_in_the_file_as_soon_as_it_is_written) {
  JsonlWriter writer(path());
  writer.write({{"step", 1}, {"reward", 0.1}, {"kl", nullptr}});
  EXPECT_EQ(read_file(path()), "{\"step\":1,\"reward\":0.1,\"kl\":null}\n");
  EXPECT_EQ(writer.offset(), fs::file_size(path()));
  writer.write({{"text", "a\nb"}});
  writer.sync();
  EXPECT_THAT(read_file(path()), EndsWith("}\n{\"text\":\"a\\nb\"}\n"));
  EXPECT_EQ(writer.offset(), fs::file_size(path()));
}

TEST_F(Jsonl, what_json_cannot_say_is_null_and_broken_text_is_replaced) {
  JsonlWriter writer(path());
  writer.write({{"a", std::nan("")}, {"b", std::numeric_limits<double>::infinity()}, {"c", "x\xFFy"}});
  EXPECT_EQ(read_file(path()), "{\"a\":null,\"b\":null,\"c\":\"x\xEF\xBF\xBDy\"}\n");
}

TEST_F(Jsonl, resuming_gives_the_file_of_a_run_that_was_never_killed) {
  const auto line = [](int i) { return Json{{"step", i}, {"reward", i / 7.0}}; };
  std::string uninterrupted;
  {
    JsonlWriter writer(folder_ / "whole");
    for (int i = 0; i < 14; ++i) writer.write(line(i));
    uninterrupted = read_file(folder_ / "whole");
  }
  uint64_t at_checkpoint = 0;
  {
    JsonlWriter writer(path());
    for (int i = 0; i < 10; ++i) {
      writer.write(line(i));
      if (i == 6) at_checkpoint = writer.offset();
    }
  }
  std::ofstream(path(), std::ios::app) << "{\"step\":10,\"rew";  // killed here
  JsonlWriter writer(path(), at_checkpoint);
  EXPECT_EQ(writer.offset(), at_checkpoint);
  EXPECT_EQ(fs::file_size(path()), at_checkpoint);
  for (int i = 7; i < 14; ++i) writer.write(line(i));
  EXPECT_EQ(read_file(path()), uninterrupted);
}

TEST_F(Jsonl, without_an_offset_starts_anew_and_with_0_too) {
  { JsonlWriter(path()).write({{"old", 1}}); }
  { JsonlWriter(path()).write({{"new", 1}}); }
  EXPECT_EQ(read_file(path()), "{\"new\":1}\n");
  const JsonlWriter writer(path(), 0);
  EXPECT_EQ(read_file(path()), "");
}

TEST_F(Jsonl, refuses_an_offset_that_is_not_of_this_file_and_leaves_it_alone) {
  { JsonlWriter(path()).write({{"step", 1}}); }
  const std::string before = read_file(path());
  EXPECT_THAT(error_of([&] { JsonlWriter(path(), before.size() + 1); }),
              AllOf(HasSubstr("[metrics]"), HasSubstr("metrics.jsonl"), HasSubstr("expected at least the 12 bytes")));
  EXPECT_THAT(error_of([&] { JsonlWriter(path(), 5); }), HasSubstr("a line to end at byte 5"));
  EXPECT_EQ(read_file(path()), before);
  EXPECT_THAT(error_of([&] { JsonlWriter(folder_ / "none" / "x.jsonl"); }), HasSubstr("none/x.jsonl"));
  if (fs::exists("/dev/full")) {
    const int full = ::open("/dev/full", O_WRONLY);
    EXPECT_GE(full, 0);
    ::close(full);
    EXPECT_THAT(error_of([] { JsonlWriter("/dev/full").write({{"step", 1}}); }), HasSubstr("/dev/full"));
  }
}

// ------------------------------------------------------------------------------------------------------ formatting

StepLine example() {
  StepLine line;
  line.step = 63;
  line.total = 180;
  line.values = {{"reward", 0.86}, {"accuracy", 0.71}, {"format", 0.98}, {"length", 31.2}, {"reflect", 0.12}};
  line.seconds = 1.1;
  line.phases = {{"roll", 0.5}, {"score", 0.04}, {"train", 0.6}};
  line.eta = 128;
  return line;
}

TEST(FormatLine, is_the_line_of_the_manual) {
  EXPECT_EQ(format_line(example()),
            "step  63/180  reward 0.86  accuracy 0.71  format 0.98  length 31.2  reflect 0.12"
            "  │ 1.1 s (roll 0.5 score 0.0 train 0.6)  eta 2:08");
  StepLine bare;
  bare.label = "base";
  bare.step = 7;
  bare.total = 7;
  EXPECT_EQ(format_line(bare), "base 7/7");
}

TEST(FormatLine, shows_values_of_every_size) {
  StepLine line;
  line.values = {{"a", 0.0},     {"b", -0.5},    {"c", 9.999},        {"d", 99.96},
                 {"e", 12345.6}, {"f", 0.00031}, {"g", std::nan("")}, {"h", 3e12}};
  EXPECT_EQ(format_line(line), "step 0/0  a 0.00  b -0.50  c 10.0  d 100.0  e 12346  f 3e-04  g –  h 3.00e+12");
}

TEST(FormatDuration, is_in_minutes_and_then_in_hours) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(7.4), "0:07");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(128), "2:08");
  EXPECT_EQ(format_duration(3599), "59:59");
  EXPECT_EQ(format_duration(3599.7), "1:00:00");
  EXPECT_EQ(format_duration(3728), "1:02:08");
  EXPECT_EQ(format_duration(360000), "100:00:00");
  EXPECT_EQ(format_duration(std::nan("")), "–");
  EXPECT_EQ(format_duration(-1), "–");
}

TEST(FormatBar, fills_with_the_steps_and_drops_what_does_not_fit) {
  StepLine line = example();
  EXPECT_EQ(format_bar(line, 200),
            "step     ███████               63/180  reward 0.86  accuracy 0.71  format 0.98  length 31.2  reflect 0.12 "
            " eta 2:08");
  EXPECT_EQ(format_bar(line, 60), "step     ███████               63/180  reward 0.86  eta 2:08");
  EXPECT_EQ(format_bar(line, 10), "step     █");
  line.step = 0;
  EXPECT_THAT(format_bar(line, 200), Not(HasSubstr("█")));
  line.step = 1;
  line.total = 2000;
  EXPECT_THAT(format_bar(line, 200), Not(HasSubstr("█")));
  line.step = line.total = 1200;
  line.label = "base";
  line.values = {{"loss", 0.59}};
  line.elapsed = 161;
  EXPECT_EQ(format_bar(line, 80), "base     ████████████████████ 1200/1200  loss 0.59  2:41");
  line.step = line.total = 0;  // a stage of no steps is done
  EXPECT_THAT(format_bar(line, 80), HasSubstr("████████████████████ 0/0"));
}

TEST(EtaTest, follows_the_latest_steps) {
  Eta eta;
  EXPECT_EQ(eta.remaining(10), std::nullopt);
  eta.add(2.0);
  EXPECT_DOUBLE_EQ(eta.remaining(10).value(), 20.0);
  for (int i = 0; i < 100; ++i) eta.add(1.0);
  EXPECT_NEAR(eta.remaining(10).value(), 10.0, 0.01);
  eta.add(2.0);  // one slow step moves it, but not all the way
  EXPECT_NEAR(eta.remaining(10).value(), 11.0, 0.01);
  EXPECT_DOUBLE_EQ(eta.remaining(0).value(), 0.0);
}

TEST(FormatTable, lines_up_numbers_under_their_columns) {
  const Table table{"held-out (512 problems)",
                    {"before", "after"},
                    {{"pass@1", {0.172, 0.943}, ""}, {"naïveté", {0.612, std::nan("")}, "mixes languages"}}};
  EXPECT_EQ(format_table(table),
            "held-out (512 problems)  before   after\n"
            "pass@1                    0.172   0.943\n"
            "naïveté                   0.612       –     ← mixes languages");
}

// -------------------------------------------------------------------------------------------------------- Progress

class ProgressTest : public InFolder {};

TEST_F(ProgressTest, writes_plain_lines_where_there_is_no_terminal_and_to_the_log) {
  const fs::path out = folder_ / "stderr";
  const int file = ::open(out.c_str(), O_WRONLY | O_CREAT, 0644);
  {
    Progress progress(folder_ / "log.txt", file);
    progress.note("grpo.cpp r1_zero");
    progress.begin("step", 3, 1, Progress::Lines::each_step);
    progress.step(2, {{"reward", 0.5}}, 1.0, {{"roll", 0.75}});
    progress.step(3, {{"reward", 0.75}}, 1.0);
    progress.end();
    progress.note("a {} brace and 100%d");
  }
  ::close(file);
  EXPECT_EQ(read_file(out),
            "grpo.cpp r1_zero\n"
            "step 2/3  reward 0.50  │ 1.0 s (roll 0.8)  eta 0:01\n"
            "step 3/3  reward 0.75  │ 1.0 s  eta 0:00\n"
            "a {} brace and 100%d\n");
  const std::string log = read_file(folder_ / "log.txt");
  EXPECT_THAT(log, ContainsRegex("^20[0-9-]+ [0-9:]+  grpo.cpp r1_zero\n"));
  EXPECT_THAT(log, HasSubstr("  step 3/3  reward 0.75"));
  EXPECT_THAT(log, HasSubstr("  a {} brace and 100%d\n"));
  { Progress(folder_ / "log.txt", -1).note("resumed"); }
  EXPECT_THAT(read_file(folder_ / "log.txt"), AllOf(HasSubstr("r1_zero"), HasSubstr("resumed")));  // appended
}

TEST_F(ProgressTest, shows_seldom_lines_only_at_the_end_of_a_short_stage) {
  const fs::path out = folder_ / "stderr";
  const int file = ::open(out.c_str(), O_WRONLY | O_CREAT, 0644);
  Progress progress(folder_ / "log.txt", file);
  progress.begin("base", 50, 0, Progress::Lines::seldom);
  for (int i = 1; i <= 50; ++i) progress.step(i, {{"loss", 2.0}}, 0.01);
  progress.end();
  ::close(file);
  EXPECT_EQ(read_file(out), "base 50/50  loss 2.00  │ 0.0 s  eta 0:00\n");
}

TEST_F(ProgressTest, keeps_a_bar_below_the_lines_on_a_terminal) {
  int terminal = -1, screen = -1;
  struct winsize size {};
  size.ws_col = 56;  // as wide as the first bar with all its values: one column must stay free
  ASSERT_EQ(::openpty(&screen, &terminal, nullptr, nullptr, &size), 0);
  {
    Progress progress(folder_ / "log.txt", terminal);
    progress.begin("step", 2, 0, Progress::Lines::each_step);
    progress.step(1, {{"reward", 0.5}}, 3.0);
    progress.step(2, {{"reward", 0.75}}, 3.0);
  }
  ::close(terminal);
  std::string shown;
  std::array<char, 4096> block;
  for (ssize_t got; (got = ::read(screen, block.data(), block.size())) > 0;) shown.append(block.data(), got);
  ::close(screen);
  const std::string clear = "\r\033[K";
  EXPECT_THAT(shown, HasSubstr(clear + "step 1/2  reward 0.50  │ 3.0 s  eta 0:03\r\n"));
  EXPECT_THAT(shown, HasSubstr(clear + "step     ██████████           1/2  eta 0:03" + clear));
  EXPECT_THAT(shown, EndsWith(clear + "step     ████████████████████ 2/2  reward 0.75  0:00\r\n"));
  EXPECT_THAT(read_file(folder_ / "log.txt"), Not(HasSubstr("█")));
}

TEST_F(ProgressTest, refuses_a_log_it_cannot_open_and_a_step_outside_a_stage) {
  EXPECT_THAT(error_of([&] { Progress(folder_, -1); }),
              AllOf(HasSubstr("[metrics]"), HasSubstr(folder_.path().string())));
  Progress progress(folder_ / "log.txt", -1);
  EXPECT_THAT(error_of([&] { progress.step(1, {}, 1.0); }), HasSubstr("begin()"));
}

// ------------------------------------------------------------------------------------------------------ StopSignal

TEST(StopSignalTest, the_first_signal_asks_and_the_handlers_come_back) {
  static std::atomic<int> mine;
  mine = 0;
  std::map<int, void (*)(int)> previous;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE})
    previous[signal] = std::signal(signal, [](int) { ++mine; });
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const StopSignal stop;
    EXPECT_FALSE(stop.requested());
    EXPECT_NO_THROW(stop.check());
    std::raise(signal);
    EXPECT_TRUE(stop.requested());
    EXPECT_THROW(stop.check(), Interrupted);
  }
  EXPECT_EQ(mine, 0);
  for (const auto& [signal, handler] : previous) std::raise(signal);
  EXPECT_EQ(mine, 4);
  for (const auto& [signal, handler] : previous) std::signal(signal, handler);
}

TEST(StopSignalTest, a_hangup_that_was_ignored_before_still_is) {
  const auto previous = std::signal(SIGHUP, SIG_IGN);
  {
    const StopSignal stop;
    std::raise(SIGHUP);
    EXPECT_FALSE(stop.requested());
  }
  EXPECT_EQ(std::signal(SIGHUP, previous), SIG_IGN);
}

TEST(StopSignalTest, a_pipe_that_nobody_reads_ends_nothing) {
  const StopSignal stop;
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::close(ends[0]);
  EXPECT_EQ(::write(ends[1], "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  ::close(ends[1]);
  EXPECT_FALSE(stop.requested());
}

TEST(StopSignalDeathTest, a_signal_that_is_repeated_at_once_is_one_request_and_a_later_one_kills) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto twice = [](int first, int second) {
    const StopSignal stop("asked\n", "ended\n");
    std::raise(first);
    std::raise(second);
    std::fputs(stop.requested() ? "still here\n" : "lost\n", stderr);
    std::this_thread::sleep_for(std::chrono::milliseconds(210));
    std::raise(second);
    std::_Exit(0);
  };
  const std::string said = "asked\nstill here\nended\n";
  EXPECT_EXIT(twice(SIGINT, SIGINT), testing::KilledBySignal(SIGINT), said);
  EXPECT_EXIT(twice(SIGTERM, SIGINT), testing::KilledBySignal(SIGINT), said);
  EXPECT_EXIT(twice(SIGINT, SIGTERM), testing::KilledBySignal(SIGTERM), said);
  EXPECT_EXIT(twice(SIGHUP, SIGHUP), testing::KilledBySignal(SIGHUP), said);
}

TEST(PeakRss, remembers_memory_that_was_given_back) {
  constexpr std::size_t kBlock = 64 << 20;
  EXPECT_EQ(std::vector<char>(kBlock, 1)[kBlock / 2], 1);
  EXPECT_GT(peak_rss_bytes(), kBlock);
  EXPECT_LT(peak_rss_bytes(), 16e9);  // bytes, not their 1,024-fold
}

}  // namespace
}  // namespace grpo
