#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>

#include "error_of.h"
#include "files.h"
#include "grpo/error.h"
#include "grpo/tensorboard.h"
#include "log/crc32c.h"

namespace grpo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;
using namespace std::string_literals;

// ---------------------------------------------------------------------------------------------------------- CRC-32C

TEST(Crc32c, gives_the_published_values) {  // RFC 3720, B.4; the second from the catalogue of CRCs
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  std::string up;
  for (char i = 0; i < 32; ++i) up += i;
  EXPECT_EQ(crc32c(up), 0x46DD794Eu);
  EXPECT_EQ(crc32c(std::string(up.rbegin(), up.rend())), 0x113FDB5Cu);
}

TEST(Crc32c, is_masked_by_a_rotation_and_a_constant) {
  EXPECT_EQ(masked_crc32c(""), 0xA282EAD8u);
  EXPECT_EQ(masked_crc32c("123456789"), ((0xE3069283u >> 15) | (0xE3069283u << 17)) + 0xA282EAD8u);
}

// ------------------------------------------------------------------------------------------------------ EventWriter

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// The data of each record; stops the test where a length or a checksum is wrong.
std::vector<std::string> records(std::string_view file) {
  std::vector<std::string> out;
  while (!file.empty()) {
    const uint64_t size = file.size() < 16 ? file.size() : little_endian(file.substr(0, 8));
    if (size + 16 > file.size() || little_endian(file.substr(8, 4)) != masked_crc32c(file.substr(0, 8)) ||
        little_endian(file.substr(12 + size, 4)) != masked_crc32c(file.substr(12, size))) {
      ADD_FAILURE() << "no whole record after the first " << out.size();
      break;
    }
    out.emplace_back(file.substr(12, size));
    file.remove_prefix(size + 16);
  }
  return out;
}

class Events : public testing::Test {
 protected:
  fs::path path() const { return folder_ / "events.out.tfevents"; }
  Folder folder_;
};

TEST_F(Events, are_framed_and_encoded_byte_for_byte) {
  EventWriter writer(path());
  EXPECT_EQ(writer.offset(), fs::file_size(path()));
  writer.write(300, 1.0, {{"a", 0.5}, {"reward/x", -2.0}});
  EXPECT_EQ(writer.offset(), fs::file_size(path()));  // in the file as soon as it is written
  writer.sync();
  const auto events = records(read_file(path()));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].size(), 24u);
  EXPECT_EQ(events[0][0], '\x09');  // the time of day
  EXPECT_EQ(events[0].substr(9),
            "\x1A\x0D"
            "brain.Event:2");
  EXPECT_EQ(events[1],
            "\x09\0\0\0\0\0\0\xF0\x3F"s  // wall_time 1.0
            "\x10\xAC\x02"s              // step 300
            "\x2A\x1B"s                  // summary
            "\x0A\x08\x0A\x01"s
            "a"
            "\x15\0\0\0\x3F"s
            "\x0A\x0F\x0A\x08"s
            "reward/x"
            "\x15\0\0\0\xC0"s);
}

TEST_F(Events, leave_out_what_is_not_a_number_and_mend_tags) {
  EventWriter writer(path());
  const uint64_t before = writer.offset();
  const double infinity = std::numeric_limits<double>::infinity();
  writer.write(1, 0.0, {{"a", std::nan("")}, {"b", infinity}, {"c", -infinity}, {"too_large", 1e300}});
  writer.write(1, 0.0, {});
  EXPECT_EQ(writer.offset(), before);
  writer.write(1, 0.0, {{"a", std::nan("")}, {"x\xFFy", 1.0}});
  const auto events = records(read_file(path()));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_THAT(events[1], AllOf(HasSubstr("\x0A\x05x\xEF\xBF\xBDy\x15"), Not(HasSubstr("\x0A\x01"
                                                                                      "a"))));
}

TEST_F(Events, hold_the_numbers_of_a_line_of_metrics) {
  using Json = nlohmann::ordered_json;
  EventWriter writer(path());
  writer.write(Json{{"step", 300}, {"a", 0.5}, {"none", nullptr}, {"name", "x"}, {"reward/x", -2}});
  const auto events = records(read_file(path()));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].substr(9),
            "\x10\xAC\x02"s  // step 300
            "\x2A\x1B"s
            "\x0A\x08\x0A\x01"s
            "a"
            "\x15\0\0\0\x3F"s
            "\x0A\x0F\x0A\x08"s
            "reward/x"
            "\x15\0\0\0\xC0"s);
}

TEST_F(Events, resuming_gives_the_file_of_a_run_that_was_never_killed) {
  const auto write = [](EventWriter& writer, int first, int last) {
    for (int i = first; i < last; ++i) writer.write(i, 1000.0 + i, {{"reward", i / 7.0}});
  };
  std::string uninterrupted;
  uint64_t at_checkpoint = 0;
  {
    EventWriter writer(path());
    write(writer, 0, 7);
    at_checkpoint = writer.offset();
    write(writer, 7, 14);
    uninterrupted = read_file(path());
  }
  fs::resize_file(path(), uninterrupted.size() - 5);  // killed in the middle of a record
  {
    EventWriter writer(path(), at_checkpoint);
    EXPECT_EQ(writer.offset(), at_checkpoint);
    EXPECT_EQ(fs::file_size(path()), at_checkpoint);
    write(writer, 7, 14);
  }
  EXPECT_EQ(read_file(path()), uninterrupted);
}

TEST_F(Events, begin_anew_without_an_offset_and_with_0_too) {
  for (const std::optional<uint64_t> offset : {std::optional<uint64_t>(), std::optional<uint64_t>(0)}) {
    { EventWriter(path()).write(1, 0.0, {{"old", 1.0}}); }
    const EventWriter writer(path(), offset);
    EXPECT_EQ(records(read_file(path())).size(), 1u);
  }
}

TEST_F(Events, refuse_an_offset_that_is_not_of_this_file_and_leave_it_alone) {
  { EventWriter(path()).write(1, 0.0, {{"reward", 1.0}}); }
  const std::string before = read_file(path());
  EXPECT_THAT(error_of([&] { EventWriter(path(), before.size() + 1); }),
              AllOf(HasSubstr("[metrics]"), HasSubstr("events.out.tfevents: expected at least the ")));
  for (const uint64_t inside : {uint64_t{5}, uint64_t{39}, uint64_t{41}, uint64_t{before.size() - 1}}) {
    EXPECT_THAT(error_of([&] { EventWriter(path(), inside); }),
                HasSubstr("a record to end at byte " + std::to_string(inside)));
  }
  EXPECT_EQ(read_file(path()), before);
  std::ofstream(folder_ / "text") << "this has never been an event file, but it is long enough to be one";
  EXPECT_THAT(error_of([&] { EventWriter(folder_ / "text", 40); }), HasSubstr("a record to end at byte 40"));
  EXPECT_THAT(error_of([&] { EventWriter(folder_ / "none" / "x.tfevents"); }), HasSubstr("none/x.tfevents"));
  if (fs::exists("/dev/full")) {
    EXPECT_THAT(error_of([] { EventWriter("/dev/full"); }), HasSubstr("/dev/full"));
  }
}

}  // namespace
}  // namespace grpo
