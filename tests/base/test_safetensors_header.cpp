// What a safetensors file may say of itself. The cases that the format's own test-suite has (safetensors 0.6,
// tensor.rs) are among these; how tensors are read and written is in test_checkpoint.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>

#include "base/files/safetensors_header.h"
#include "error_of.h"

namespace grpo {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string length_of(std::uint64_t header) {
  std::string bytes;
  for (int i = 0; i < 64; i += 8) bytes += static_cast<char>(header >> i & 255);
  return bytes;
}
std::string file_of(const std::string& header, std::size_t data) {
  return length_of(header.size()) + header + std::string(data, '\0');
}
SafetensorsHeader read(const std::string& header, std::size_t data) {
  return read_safetensors_header(file_of(header, data), "FILE");
}
std::string refusal(const std::string& file) {
  return error_of([&] { read_safetensors_header(file, "FILE"); });
}
std::string refusal(const std::string& header, std::size_t data) { return refusal(file_of(header, data)); }

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + '}';
}
std::string w(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"w\":" + entry(dtype, shape, offsets) + '}';
}

TEST(SafetensorsHeader, takes_what_the_format_allows) {
  EXPECT_THAT(read("{}", 0).entries, IsEmpty());
  for (const char* padded : {"{}\r \t\n", "\t\n{}\r ", "{}                              "})
    EXPECT_THAT(read(padded, 0).entries, IsEmpty()) << "white space before and behind, to align the data";
  const SafetensorsHeader scalar = read(w("I32", "[]", "[0,4]"), 4);
  EXPECT_THAT(scalar.entries.at(0).shape, IsEmpty());
  EXPECT_EQ(scalar.data_begin, 8 + w("I32", "[]", "[0,4]").size());
  const SafetensorsHeader empty = read(w("I32", "[2,0]", "[0, 0]"), 0);
  EXPECT_THAT(empty.entries.at(0).shape, ElementsAre(2, 0));
  EXPECT_EQ(empty.entries.at(0).begin, empty.entries.at(0).end);

  // In the order of the header whatever that of the data is; an empty tensor between two others; a name of any sort;
  // a field that is not known, however deep.
  const SafetensorsHeader several =
      read(R"({"__metadata__":{"format":"pt","":""},"b":)" + entry("F32", "[2]", "[4,12]") + R"(,"e":)" +
               entry("U8", "[0]", "[4,4]") + R"(,"\"한":)" + entry("BF16", "[2,1]", "[0,4]") +
               R"(,"x":{"dtype":"BOOL","note":{"a":[{"b":[1,{}]}]},"data_offsets":[12,13],"shape":[1]}})",
           13);
  ASSERT_EQ(several.entries.size(), 4u);
  EXPECT_EQ(several.entries[0].name, "b");
  EXPECT_EQ(several.entries[2].name, "\"한");
  EXPECT_EQ(several.entries[3].dtype.name, "BOOL");
  EXPECT_EQ(several.metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"", ""}}));
}

TEST(SafetensorsHeader, names_what_is_wrong_with_a_file) {
  const std::string good = w("I32", "[2,2]", "[0,16]");
  EXPECT_EQ(refusal(good, 16), "(no error)");
  // its size
  EXPECT_THAT(refusal(""), HasSubstr("expected 8 bytes of header length, got 0"));
  EXPECT_THAT(refusal(length_of(60)), HasSubstr("expected a header of at most 0 bytes, got 60"));
  EXPECT_THAT(refusal(length_of(0xffffff000000003c) + good), HasSubstr("got 18446742974197923900"));
  EXPECT_THAT(refusal(length_of(~std::uint64_t{0}) + good), HasSubstr("got 18446744073709551615"));
  EXPECT_THAT(refusal(length_of(100'000'001) + std::string(100'000'001, ' ')), HasSubstr("at most 100000000 bytes"));
  EXPECT_THAT(refusal(good, 14), HasSubstr("w: expected data_offsets that rise within 14 bytes"));
  EXPECT_THAT(refusal(good, 17), HasSubstr("expected 16 bytes, got 17")) << "behind which another format may hide";
  const std::string whole = file_of(good, 16);
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_THAT(refusal(whole.substr(0, size)), HasSubstr("FILE"));
}

TEST(SafetensorsHeader, names_what_is_wrong_with_the_text) {
  const std::string good = w("I32", "[2,2]", "[0,16]"), one = entry("U8", "[8]", "[0,8]");
  const std::pair<std::string, const char*> cases[] = {
      {"", "expected a JSON object, got nothing"},
      {"    ", "expected a JSON object, got nothing"},
      {"{", "expected a JSON object"},
      {"\xff", "expected a JSON object"},
      {"{\"\xff\":" + one + '}', "UTF-8"},
      {"[1]", "expected a JSON object"},
      {"null", "expected a JSON object"},
      {"\xef\xbb\xbf{}", "expected a JSON object"},
      {"{}{}", "expected a JSON object"},
      {"{}x", "expected a JSON object"},
      {std::string("{}\0{}", 5), "got a zero at byte 2"},
      {"{\"w\":" + one + ",}", "expected a JSON object"},
      {"/**/{}", "expected a JSON object"},
      {std::string(100'000, '['), "expected a JSON object"},
      {std::string(100'000, '[') + std::string(100'000, ']'), "expected a JSON object"},
      {"{\"w\":" + std::string(100'000, '['), "w: expected an object"},
      {R"({"w":{"dtype":"U8","shape":)" + std::string(100'000, '['), "w: expected a shape"},
      {R"({"w":{"dtype":)" + std::string(100'000, '[') + std::string(100'000, ']'), "w: expected a dtype"},
      {R"({"w":{"note":)" + std::string(1'000'000, '['), "expected a JSON object"},
      {"{\"w\":" + one + ",\"w\":" + one + '}', "w: expected each tensor once"},
      {R"({"w":{"dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8]}})", "w.dtype: expected each key once"},
      {R"({"__metadata__":{"a":"1"},"__metadata__":{}})", "__metadata__: expected each"},
      {R"({"__metadata__":{"a":"1","a":"2"}})", "__metadata__.a: expected each key once"},
      {R"({"__metadata__":{"a":1}})", "__metadata__: expected strings, got a number for a"},
      {R"({"__metadata__":{"a":{}}})", "__metadata__: expected strings, got an object for a"},
      {R"({"__metadata__":["a"]})", "__metadata__: expected an object of strings, got an array"},
      {R"({"__metadata__":null})", "__metadata__: expected an object of strings, got null"},
  };
  for (const auto& [header, message] : cases)
    EXPECT_THAT(refusal(header, 8), AllOf(HasSubstr("[safetensors] FILE: "), HasSubstr(message)))
        << header.substr(0, 100);
}

TEST(SafetensorsHeader, names_what_is_wrong_with_a_tensor) {
  const std::pair<std::string, const char*> cases[] = {
      {R"({"w":3})", "w: expected an object with dtype, shape and data_offsets, got a number"},
      {R"({"w":{}})", "w: expected an object with dtype, shape and data_offsets"},
      {R"({"w":{"dtype":"U8","shape":[8]}})", "w: expected an object with dtype"},
      {R"({"w":{"dtype":7,"shape":[8],"data_offsets":[0,8]}})", "expected a dtype of F64"},
      {w("F32", "[1,1]", "[0,8]"), "w: expected 4 bytes for F32 [1,1], got data_offsets [0,8]"},
      {w("I32", "[2,2]", "[0, 4]"), "w: expected 16 bytes for I32 [2,2]"},
      {w("I32", "2", "[0,8]"), "w: expected a shape"},
      {w("I32", "[2.0]", "[0,8]"), "w: expected a shape"},
      {w("I32", "[-2]", "[0,8]"), "w: expected a shape"},
      {w("I32", "[\"2\"]", "[0,8]"), "w: expected a shape"},
      {w("I32", "[[2]]", "[0,8]"), "w: expected a shape"},
      {w("I32", "[2,18446744073709551614]", "[0,8]"), "63 bits"},
      {w("I32", "[2,18446744073709551616]", "[0,8]"), "w: expected a shape"},
      {w("I32", "[2,9223372036854775807]", "[0,8]"), "63 bits"},
      {w("U8", "[4294967296,4294967296]", "[0,0]"), "63 bits"},
      {w("U8", "[0,9223372036854775807,9]", "[0,0]"), "63 bits"},
      {w("U8",
         "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
         "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]",
         "[0,1]"),
       "up to 64 lengths"},
      {w("U8", "[8]", "[0]"), "w: expected two data_offsets >= 0, got 1"},
      {w("U8", "[8]", "[0,8,8]"), "w: expected two data_offsets >= 0, got more"},
      {w("U8", "[8]", "{\"0\":8}"), "w: expected two data_offsets >= 0, got an object"},
      {w("U8", "[8]", "[-8,0]"), "w: expected two data_offsets"},
      {w("U8", "[8]", "[0,8.0]"), "w: expected two data_offsets"},
      {w("U8", "[8]", "[8,0]"), "w: expected data_offsets that rise within 8 bytes"},
      {w("U8", "[8]", "[18446744073709551615,7]"), "w: expected data_offsets that rise"},
      {w("U8", "[9]", "[0,9]"), "w: expected data_offsets that rise within 8 bytes"},
      {w("U8", "[7]", "[1,8]"), "w: leaves a hole; expected to begin at byte 0, got 1"},
      {w("U8", "[7]", "[0,7]"), "expected 7 bytes, got 8"},
      {"{\"v\":" + entry("U8", "[3]", "[0,3]") + ",\"w\":" + entry("U8", "[4]", "[4,8]") + '}', "w: leaves a hole"},
      {"{\"v\":" + entry("U8", "[6]", "[0,6]") + ",\"w\":" + entry("U8", "[4]", "[4,8]") + '}', "w: overlaps another"},
      {"{\"v\":" + entry("U8", "[8]", "[0,8]") + ",\"w\":" + entry("U8", "[8]", "[0,8]") + '}', ": overlaps another"},
      {"{\"v\":" + entry("U8", "[8]", "[0,8]") + ",\"w\":" + entry("U8", "[0]", "[4,4]") + '}', "w: overlaps another"},
  };
  for (const auto& [header, message] : cases)
    EXPECT_THAT(refusal(header, 8), AllOf(HasSubstr("[safetensors] FILE: "), HasSubstr(message))) << header;
  for (const char* dtype :
       {"F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3", "F8_E8M0", "U16", "U32", "U64", "C64", "f32", "F32 ", ""})
    EXPECT_THAT(refusal(w(dtype, "[2]", "[0,8]"), 8),
                AllOf(HasSubstr("w: expected a dtype of F64"), HasSubstr(std::string("got ") + dtype)));
}

TEST(SafetensorsHeader, is_read_in_time_that_grows_as_it_does) {
  std::string header = "{";
  for (int i = 0; i < 20'000; ++i)
    header += (i ? ",\"layers." : "\"layers.") + std::to_string(i) + "\":" + entry("U8", "[0]", "[0,0]");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(read(header + '}', 0).entries.size(), 20'000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

}  // namespace
}  // namespace grpo
