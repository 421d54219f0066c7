#include "base/files/durable_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "base/files/input_file.h"
#include "error_of.h"
#include "files.h"
#include "system_calls.h"

namespace grpo {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace fs = std::filesystem;

class DurableFiles : public ::testing::Test {
 protected:
  void SetUp() override { system_calls = {}; }
  void TearDown() override { system_calls = {}; }
  Folder folder_;
};

TEST_F(DurableFiles, have_their_name_once_they_are_on_the_disk) {
  write_file("run", folder_ / "done.json", "{}\n");
  const std::string folder = name_of(folder_.path());
  EXPECT_THAT(system_calls.seen,
              ElementsAre("fsync .tmp-done.json", "rename .tmp-done.json done.json", "fsync " + folder));
  EXPECT_EQ(read_file(folder_ / "done.json"), "{}\n");
  system_calls = {};
  copy_file("run", folder_ / "done.json", folder_ / "deep/er/copy.json");
  EXPECT_EQ(system_calls.seen.front(), "fsync .tmp-copy.json");
  EXPECT_EQ(system_calls.seen.back(), "fsync er");
  EXPECT_EQ(read_file(folder_ / "deep/er/copy.json"), "{}\n");
}

TEST_F(DurableFiles, that_cannot_be_written_leave_what_was_there_and_no_litter) {
  fs::create_directories(folder_ / "taken/by a folder");
  EXPECT_THAT(error_of([&] { write_file("run", folder_ / "taken", "x"); }),
              AllOf(HasSubstr("[run] cannot give"), HasSubstr("taken")));
  EXPECT_TRUE(fs::exists(folder_ / "taken/by a folder"));
  EXPECT_THAT(error_of([&] { write_file("run", folder_ / "taken/by a folder/" / std::string(300, 'n'), "x"); }),
              HasSubstr("cannot create this file"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(DurableFiles, that_are_not_finished_are_not_there) {
  std::ofstream(folder_ / "weights") << "before";
  {
    DurableFile file("run", folder_ / "weights");
    file.write("half of what");
    EXPECT_EQ(read_file(folder_ / "weights"), "half of what");
  }
  EXPECT_FALSE(fs::exists(folder_ / "weights"));
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  const int reader = ::open((folder_ / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  DurableFile("run", folder_ / "pipe").write("x");
  EXPECT_TRUE(fs::exists(folder_ / "pipe")) << "which somebody else has made";
  ::close(reader);
}

TEST_F(DurableFiles, change_places_in_one_step_where_the_file_system_can) {
  write_file("run", folder_ / "a", "1");
  write_file("run", folder_ / "b", "2");
  system_calls = {};
  EXPECT_TRUE(exchange_durably("run", folder_ / "a", folder_ / "b"));
  EXPECT_THAT(system_calls.seen, ElementsAre("exchange a b", "fsync " + name_of(folder_.path())));
  EXPECT_EQ(read_file(folder_ / "a") + read_file(folder_ / "b"), "21");
  system_calls.knows_exchange = false;
  EXPECT_FALSE(exchange_durably("run", folder_ / "a", folder_ / "b"));
  EXPECT_EQ(read_file(folder_ / "a") + read_file(folder_ / "b"), "21");
  system_calls.knows_exchange = true;
  EXPECT_THAT(error_of([&] { exchange_durably("run", folder_ / "a", folder_ / "none"); }), HasSubstr("none"));
}

// Files have one way to the disk: who takes another writes what a power cut empties.
TEST(DurableFilesOfTheLibrary, are_written_here_alone) {
  const std::set<std::string> own = {"durable_file.cpp", "append_file.cpp", "folder_lock.cpp"};
  const std::vector<std::string> writes = {"std::ofstream", "std::fstream", "fopen(",     "O_CREAT",
                                           "::rename(",     "renameat",     "::copy_file(", "fs::copy("};
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(GRPO_FIXTURES) / "../../src")) {
    if (!entry.is_regular_file() || own.contains(name_of(entry.path()))) continue;
    const std::string text = read_file(entry.path());
    for (const std::string& each : writes)
      if (text.find(each) != std::string::npos) found.push_back(name_of(entry.path()) + " has " + each);
  }
  EXPECT_THAT(found, IsEmpty()) << "use write_file, copy_file or rename_durably";
}

TEST_F(DurableFiles, are_read_whole_and_nothing_else_is) {
  EXPECT_EQ(read_input("task", "/proc/self/stat").substr(0, 2), std::to_string(::getpid()).substr(0, 2));
  const std::string large(300'000, 'x');
  write_file("run", folder_ / "large", large);
  EXPECT_TRUE(read_input("task", folder_ / "large") == large);
  write_file("run", folder_ / "empty", "");
  EXPECT_EQ(read_input("task", folder_ / "empty"), "");
  EXPECT_THAT(error_of([&] { read_input("task", folder_ / "none"); }),
              AllOf(HasSubstr("[task] "), HasSubstr("none: expected a file that can be read, got no such file")));
  EXPECT_THAT(error_of([&] { read_input("task", folder_); }), HasSubstr("got a folder"));
  EXPECT_THAT(error_of([] { read_input("task", "/dev/zero"); }), HasSubstr("got a device or socket"));
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of([&] { read_input("task", folder_ / "pipe"); }), HasSubstr("a pipe that nothing was written to"));
}

}  // namespace
}  // namespace grpo
