#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "base/files/durable_file.h"
#include "base/files/xxhash64.h"
#include "error_of.h"
#include "files.h"
#include "grpo/checkpoint.h"
#include "grpo/error.h"
#include "grpo/safetensors.h"
#include "system_calls.h"

namespace grpo {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class InFolder : public testing::Test {
 protected:
  Folder folder_;
};

// ------------------------------------------------------------------------------------------------------- XxHash64

TEST(XxHash64, agrees_with_the_xxhash_package_at_every_kind_of_length) {
  const std::pair<std::size_t, const char*> expected[] = {
      {0, "ef46db3751d8e999"},    {1, "1f25c8d0bc1f4bb6"},  {3, "31d2363f52e564c9"},  {4, "9bb64b7d66ee9fda"},
      {7, "9a7b149959ce60d8"},    {8, "dab99d95c6f90092"},  {31, "a2aa5f33cc4a6119"}, {32, "23c3c17ef790fd97"},
      {33, "50a7cfc7ba588784"},   {63, "f1438f15b9ed16e9"}, {64, "2cd990a1beed6894"}, {100, "778e26df8290f456"},
      {1000, "021f7a7424085ea4"},
  };
  for (const auto& [size, hash] : expected) {
    std::string data;
    for (std::size_t i = 0; i < size; ++i) data += static_cast<char>((i * 7 + 3) % 251);
    XxHash64 whole, piecewise;
    whole.update(data.data(), data.size());
    EXPECT_EQ(whole.hex(), hash) << size;
    for (std::size_t begin = 0, step = 1; begin < size; begin += step, step = step % 40 + 1) {
      piecewise.update(data.data() + begin, std::min(step, size - begin));
    }
    EXPECT_EQ(piecewise.hex(), hash) << size << " in pieces";
  }
}

// ----------------------------------------------------------------------------------------------------- safetensors

class Safetensors : public InFolder {
 protected:
  // A file of this header and data; `header` is padded as the format asks.
  fs::path file_of(std::string header, const std::string& data) {
    header.append((8 - header.size() % 8) % 8, ' ');
    std::string bytes(8, '\0');
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i) & 255);
    write_bytes(folder_ / "file.safetensors", bytes + header + data);
    return folder_ / "file.safetensors";
  }
  std::string refusal(const std::string& header, const std::string& data) {
    const fs::path path = file_of(header, data);
    return error_of([&] { load_safetensors(path); });
  }
};

TEST_F(Safetensors, round_trips_every_dtype_bit_for_bit_in_order) {
  NamedTensors tensors;
  for (const auto dtype : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16,
                           at::kFloat, at::kDouble}) {
    tensors.emplace_back(std::string("layers.0.") + toString(dtype), at::randn({3, 5}).mul(40).to(dtype));
  }
  tensors.emplace_back("scalar", at::scalar_tensor(int64_t{1} << 62, at::kLong));
  tensors.emplace_back("empty", at::zeros({4, 0, 2}));
  tensors.emplace_back("not a number", at::full({2}, std::nan("")));
  tensors.emplace_back("\"quoted\" \xED\x95\x9C\xEA\xB8\x80", at::randn({6, 4}).t());  // strided
  save_safetensors(folder_ / "file", tensors, {{"format", "pt"}, {"note", "line\nbreak"}});

  SafetensorsMetadata metadata;
  const NamedTensors back = load_safetensors(folder_ / "file", &metadata);
  EXPECT_EQ(metadata, (SafetensorsMetadata{{"format", "pt"}, {"note", "line\nbreak"}}));
  ASSERT_EQ(back.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(back[i].first, tensors[i].first);
    EXPECT_EQ(back[i].second.scalar_type(), tensors[i].second.scalar_type());
    ASSERT_EQ(back[i].second.sizes(), tensors[i].second.sizes()) << back[i].first;
    const at::Tensor expected = tensors[i].second.contiguous();
    EXPECT_EQ(std::memcmp(back[i].second.data_ptr(), expected.data_ptr(), expected.nbytes()), 0) << back[i].first;
  }
}

TEST_F(Safetensors, writes_the_bytes_of_the_format) {
  save_safetensors(folder_ / "file", {{"a", at::arange(3, at::kByte)}, {"b", at::full({1, 2}, 1.0f)}}, {{"k", "v"}});
  const std::string bytes = read_file(folder_ / "file");
  const std::string header = R"({"__metadata__":{"k":"v"},"a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},)"
                             R"("b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}})";
  const std::size_t padded = (header.size() + 7) / 8 * 8;
  ASSERT_EQ(bytes.size(), 8 + padded + 11);
  EXPECT_EQ(static_cast<unsigned char>(bytes[0]), padded);
  EXPECT_EQ(bytes.substr(1, 7), std::string(7, '\0'));
  EXPECT_EQ(bytes.substr(8, padded), header + std::string(padded - header.size(), ' '));
  EXPECT_EQ(bytes.substr(8 + padded), std::string("\0\0\x80\x3F\0\0\x80\x3F\0\1\2", 11));
}

TEST_F(Safetensors, reads_what_others_wrote) {
  const fs::path path = file_of(R"({"x":{"shape":[2],"dtype":"I32","data_offsets":[4,12]},)"
                                R"("y":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]}})",
                                std::string("\x80\x3F\x00\xC0\x01\0\0\0\xFF\xFF\xFF\xFF", 12));
  const NamedTensors tensors = load_safetensors(path);
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_TRUE(at::equal(tensors[0].second, at::tensor({1, -1}, at::kInt)));
  EXPECT_TRUE(at::equal(tensors[1].second, at::tensor({1.0f, -2.0f}).to(at::kBFloat16).view({2, 1})));
}

TEST_F(Safetensors, refuses_a_broken_header_and_names_file_and_tensor) {  // more in test_safetensors_header.cpp
  EXPECT_THAT(refusal(R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "12345678"),
              AllOf(HasSubstr("[safetensors]"), HasSubstr("file.safetensors"), HasSubstr("w: expected 12 bytes")));
  EXPECT_EQ(refusal(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "12345678"), "(no error)");
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of([&] { load_safetensors(folder_ / "pipe"); }), HasSubstr("pipe: expected a regular file"));
}

TEST_F(Safetensors, refuses_a_file_cut_anywhere) {
  const fs::path path = folder_ / "whole";
  save_safetensors(path, {{"a", at::ones({3})}, {"b", at::ones({2}, at::kByte)}});
  const std::string bytes = read_file(path);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    write_bytes(folder_ / "cut", bytes.substr(0, size));
    EXPECT_THAT(error_of([&] { load_safetensors(folder_ / "cut"); }), HasSubstr("cut")) << size;
  }
  write_bytes(folder_ / "cut", bytes + "x");
  EXPECT_THAT(error_of([&] { load_safetensors(folder_ / "cut"); }), HasSubstr("expected 14 bytes, got 15"));
  EXPECT_THAT(error_of([&] { load_safetensors(folder_ / "absent"); }), HasSubstr("absent"));
  EXPECT_THAT(error_of([&] { load_safetensors(folder_); }), HasSubstr("[safetensors]"));
}

TEST_F(Safetensors, refuses_to_write_what_it_could_not_read_back) {
  const at::Tensor x = at::zeros({1});
  const auto refused = [&](NamedTensors t) { return error_of([&] { save_safetensors(folder_ / "file", t); }); };
  EXPECT_THAT(refused({{"a", x}, {"a", x}}), HasSubstr("distinct names"));
  EXPECT_THAT(refused({{"__metadata__", x}}), HasSubstr("__metadata__"));
  EXPECT_THAT(refused({{"c", at::zeros({1}, at::kComplexFloat)}}),
              AllOf(HasSubstr("c: expected a dtype"), HasSubstr("ComplexFloat")));
  EXPECT_THAT(error_of([&] { save_safetensors(folder_ / "none" / "file", {{"a", x}}); }), HasSubstr("none/file"));
}

TEST(SafetensorsDisk, says_so_when_the_disk_is_full) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here, the device that is always full";
  EXPECT_THAT(error_of([] {
                save_safetensors("/dev/full", {{"a", at::zeros({100})}});
              }),
              AllOf(HasSubstr("/dev/full"), HasSubstr("No space left")));
}

// ------------------------------------------------------------------------------------------------------ checkpoints

class Checkpoint : public InFolder {
 protected:
  static CheckpointContents contents(int64_t step, bool with_reference = false) {
    CheckpointContents c;
    c.policy = {{"embed", at::full({4, 3}, step, at::kBFloat16)}, {"norm", at::ones({3})}};
    c.optimizer = {{"updates", at::scalar_tensor(step, at::kLong)}, {"first_moment.embed", at::randn({4, 3})}};
    if (with_reference) c.reference = NamedTensors{{"embed", at::zeros({4, 3}, at::kBFloat16)}};
    c.state = {{"step", step}, {"cursor", uint64_t{1} << 63}, {"reward", 0.1}, {"offsets", {{"metrics.jsonl", 4096}}}};
    return c;
  }
  fs::path write(int64_t step, int keep = 0) { return write_checkpoint(folder_, step, contents(step), keep); }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& each : list_checkpoints(folder_)) found.push_back(each.filename().string());
    return found;
  }
  static std::string refusal(const fs::path& checkpoint) {
    return error_of([&] { read_checkpoint(checkpoint); });
  }
};

constexpr const char* kFiles[] = {"policy.safetensors", "optimizer.safetensors", "reference.safetensors", "state.json",
                                  "manifest.json"};

TEST_F(Checkpoint, gives_back_exactly_what_was_written) {
  const CheckpointContents written = contents(123, true);
  const fs::path where = write_checkpoint(folder_, 123, written);
  EXPECT_EQ(where, folder_ / "checkpoints" / "step-000123");
  const CheckpointContents read = read_checkpoint(where);
  EXPECT_EQ(read.state.dump(), written.state.dump());
  const auto expect_equal = [](const NamedTensors& a, const NamedTensors& b) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].first, b[i].first);
      EXPECT_TRUE(at::equal(a[i].second, b[i].second));
    }
  };
  expect_equal(read.policy, written.policy);
  expect_equal(read.optimizer, written.optimizer);
  expect_equal(read.reference.value(), written.reference.value());
  EXPECT_FALSE(read_checkpoint(write(124)).reference.has_value());
  EXPECT_EQ(read_checkpoint(where / "").state, written.state);  // a trailing slash is the same place
}

TEST_F(Checkpoint, the_manifest_lists_size_and_hash_of_every_file) {
  const fs::path where = write(5);
  const auto manifest = nlohmann::ordered_json::parse(read_file(where / "manifest.json"));
  ASSERT_EQ(manifest["files"].size(), 3u);
  for (const auto& [name, entry] : manifest["files"].items()) {
    EXPECT_EQ(entry["size"], fs::file_size(where / name));
    const std::string bytes = read_file(where / name);
    XxHash64 hash;
    hash.update(bytes.data(), bytes.size());
    EXPECT_EQ(entry["xxh64"], hash.hex());
  }
}

TEST_F(Checkpoint, refuses_any_changed_cut_or_missing_file_by_name_and_tells_where_to_resume) {
  write(20);
  write(30);
  const fs::path where = write_checkpoint(folder_, 40, contents(40, true));
  const auto expect_refused = [&](const char* name, const char* what) {
    EXPECT_THAT(refusal(where), AllOf(HasSubstr("[checkpoint]"), HasSubstr("step-000040: " + std::string(name)),
                                      HasSubstr(what),
                                      HasSubstr("the newest whole one before it is " +
                                                (folder_ / "checkpoints/step-000030").string())));
  };
  for (const char* name : kFiles) {
    const std::string bytes = read_file(where / name);
    for (const std::size_t at : {std::size_t{0}, bytes.size() / 2, bytes.size() - 2}) {
      std::string flipped = bytes;
      flipped[at] = static_cast<char>(flipped[at] ^ 1);
      write_bytes(where / name, flipped);
      expect_refused(name, "was altered or cut short");
    }
    for (const std::size_t size : {std::size_t{0}, bytes.size() / 2, bytes.size() - 2}) {
      write_bytes(where / name, bytes.substr(0, size));
      expect_refused(name, "was altered or cut short");
    }
    if (std::string(name) != "manifest.json") {
      write_bytes(where / name, bytes + "x");
      expect_refused(name, "was altered or cut short (hash differs)");
    }
    fs::remove(where / name);
    expect_refused(name, "is missing");
    write_bytes(where / name, bytes);
    EXPECT_EQ(refusal(where), "(no error)");
  }
}

// Weights under an adapter: on the disk once, and vouched for by every checkpoint.
TEST_F(Checkpoint, stands_on_what_no_step_changes) {
  CheckpointContents first = contents(1), second = contents(2);
  first.frozen = {{"embed", at::randn({5, 3})}, {"norm", at::ones({3})}};
  second.frozen = {{"embed", at::randn({5, 3})}, {"norm", at::ones({3})}};
  write_checkpoint(folder_, 1, second);
  remove_checkpoints_after(folder_, -1);
  write_checkpoint(folder_, 1, first);  // a run that begins anew has its own
  const std::string bytes = read_file(folder_ / "frozen.safetensors");
  const fs::path where = write_checkpoint(folder_, 2, second);
  EXPECT_EQ(read_file(folder_ / "frozen.safetensors"), bytes) << "not written again";
  EXPECT_EQ(read_checkpoint(where).policy.size(), 2u);
  const NamedTensors read{{"embed", at::zeros({5, 3}, at::kBFloat16)}, {"norm", at::zeros({3})}};
  read_frozen(folder_, read);
  EXPECT_TRUE(at::equal(read[0].second, first.frozen[0].second.to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(read[1].second, first.frozen[1].second));
  EXPECT_THAT(error_of([&] { read_frozen(folder_, {{"embed", at::zeros({5, 4})}}); }),
              HasSubstr("frozen.safetensors: expected embed of shape [5, 4], got none"));
  read_frozen(folder_ / "nowhere", {});

  std::string altered = bytes;
  altered[bytes.size() - 1] ^= 1;
  write_bytes(folder_ / "frozen.safetensors", altered);
  EXPECT_THAT(refusal(where), HasSubstr("step-000002: frozen.safetensors was altered or cut short (hash differs)"
                                    "; no older one there is whole"));
  fs::remove(folder_ / "frozen.safetensors");
  EXPECT_THAT(refusal(where), HasSubstr("frozen.safetensors is missing"));
  write_bytes(folder_ / "frozen.safetensors", bytes);
  EXPECT_EQ(refusal(where), "(no error)");
  write_bytes(folder_ / "frozen.json", "{}");
  EXPECT_THAT(error_of([&] { write_checkpoint(folder_, 3, second); }), HasSubstr("frozen.json"));
  EXPECT_EQ(names(), (std::vector<std::string>{"step-000001", "step-000002"}));
}

TEST_F(Checkpoint, the_advice_passes_over_older_damage) {
  write(20);
  const fs::path older = write(30), newer = write(40);
  write_bytes(older / "state.json", "{}");
  write_bytes(newer / "policy.safetensors", "");
  EXPECT_THAT(refusal(newer),
              AllOf(HasSubstr("step-000040: policy.safetensors"), testing::EndsWith("checkpoints/step-000020")));
  fs::remove(folder_ / "checkpoints" / "step-000020" / "manifest.json");
  EXPECT_THAT(refusal(newer), HasSubstr("no older one there is whole"));
  EXPECT_THAT(refusal(folder_ / "checkpoints" / "step-000099"), HasSubstr("step-000099: expected a checkpoint folder"));
}

TEST_F(Checkpoint, a_manifest_edited_to_match_another_file_is_refused) {
  const fs::path where = write(1);
  std::string manifest = read_file(where / "manifest.json");
  const std::size_t digit = manifest.find("xxh64") + 9;
  manifest[digit] = manifest[digit] == '0' ? '1' : '0';
  write_bytes(where / "manifest.json", manifest);
  EXPECT_THAT(refusal(where), HasSubstr("manifest.json was altered"));
}

TEST_F(Checkpoint, the_newest_is_the_one_of_the_largest_step) {
  EXPECT_EQ(newest_checkpoint(folder_), std::nullopt);
  EXPECT_EQ(newest_checkpoint(folder_ / "absent"), std::nullopt);
  for (const int64_t step : {9, 1'000, 1'234'567}) write(step);
  EXPECT_THAT(names(), ElementsAre("step-000009", "step-001000", "step-1234567"));
  EXPECT_EQ(newest_checkpoint(folder_)->filename(), "step-1234567");
}

TEST_F(Checkpoint, what_a_killed_writer_left_is_ignored_and_cleared_by_the_next_write) {
  write(10);
  const fs::path parent = folder_ / "checkpoints";
  fs::create_directories(parent / ".tmp-step-000020");
  write_bytes(parent / ".tmp-step-000020" / "policy.safetensors", "half");
  fs::create_directories(parent / ".tmp-old-step-000005" / "deep");
  fs::create_directories(parent / "step-notes");
  write_bytes(parent / "step-000099", "a file, not a folder");
  EXPECT_THAT(names(), ElementsAre("step-000010"));
  write(20);
  EXPECT_THAT(names(), ElementsAre("step-000010", "step-000020"));
  EXPECT_EQ(refusal(parent / "step-000020"), "(no error)");
  EXPECT_FALSE(fs::exists(parent / ".tmp-step-000020"));
  EXPECT_FALSE(fs::exists(parent / ".tmp-old-step-000005"));
  EXPECT_TRUE(fs::exists(parent / "step-notes"));
}

TEST_F(Checkpoint, keeps_the_newest_ones_asked_for) {
  for (int64_t step = 1; step <= 5; ++step) write(step, 3);
  EXPECT_THAT(names(), ElementsAre("step-000003", "step-000004", "step-000005"));
  write(6, 1);
  EXPECT_THAT(names(), ElementsAre("step-000006"));
}

TEST_F(Checkpoint, a_run_that_went_back_leaves_its_abandoned_future) {
  for (const int64_t step : {10, 20, 30, 40}) write(step);
  write(25, 2);
  EXPECT_THAT(names(), ElementsAre("step-000020", "step-000025"));
  remove_checkpoints_after(folder_, 20);
  EXPECT_THAT(names(), ElementsAre("step-000020"));
  remove_checkpoints_after(folder_, -1);
  EXPECT_THAT(names(), ElementsAre());
  remove_checkpoints_after(folder_ / "absent", -1);
}

TEST_F(Checkpoint, replaces_a_damaged_one_of_the_same_step) {
  write(30);
  write_bytes(write(40) / "policy.safetensors", "damaged");
  const fs::path again = write(40);
  EXPECT_EQ(refusal(again), "(no error)");
  EXPECT_THAT(names(), ElementsAre("step-000030", "step-000040"));
}

// The process is killed in place of each system call that a file's name or contents on the disk depend on.
TEST_F(Checkpoint, of_a_step_saved_again_one_is_there_at_every_moment) {
  for (const bool knows_exchange : {true, false}) {
    bool killed = true;
    for (int call = 0; killed; ++call) {
      fs::remove_all(folder_ / "checkpoints");
      const at::Tensor old = contents(40).policy[0].second;
      write(40);
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        system_calls = {{}, knows_exchange, call};
        CheckpointContents again = contents(40);
        again.policy[0].second = old + 1;
        write_checkpoint(folder_, 40, again, 1);
        ::_exit(0);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFEXITED(status)) << status;
      killed = WEXITSTATUS(status) == 9;
      ASSERT_TRUE(killed || WEXITSTATUS(status) == 0);
      const auto newest = newest_checkpoint(folder_);
      ASSERT_TRUE(newest.has_value()) << "killed before call " << call;
      const at::Tensor got = read_checkpoint(*newest).policy[0].second;
      EXPECT_TRUE(at::equal(got, old + 1) || (killed && at::equal(got, old))) << call;
      write(40);
      write(41);
      EXPECT_THAT(names(), ElementsAre("step-000040", "step-000041")) << call;
      EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "checkpoints"), {}), 2) << call;
      ASSERT_LT(call, 100);
    }
  }
}

TEST_F(Checkpoint, a_failed_write_leaves_the_older_ones_and_no_litter) {
  write(1);
  CheckpointContents broken = contents(2);
  broken.optimizer.emplace_back("twice", at::zeros({1}));
  broken.optimizer.emplace_back("twice", at::zeros({1}));
  EXPECT_THAT(error_of([&] { write_checkpoint(folder_, 2, broken); }), HasSubstr("distinct names"));
  EXPECT_THAT(names(), ElementsAre("step-000001"));
  EXPECT_EQ(refusal(folder_ / "checkpoints" / "step-000001"), "(no error)");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "checkpoints"), {}), 1);

  write_bytes(folder_ / "occupied", "a file where the run folder should be");
  EXPECT_THAT(error_of([&] { write_checkpoint(folder_ / "occupied", 2, contents(2)); }),
              AllOf(HasSubstr("[checkpoint]"), HasSubstr("occupied")));
  EXPECT_THAT(error_of([&] { write_checkpoint(folder_, -1, contents(2)); }), HasSubstr("step >= 0"));
}

// ----------------------------------------------------------------------------------------------------- SavedState

TEST_F(InFolder, saved_entries_are_checked_as_they_are_read) {
  write_bytes(folder_ / "state.json", R"({"count": 3, "negative": -1, "huge": 18446744073709551615, "half": 0.5,
    "counts": [1, 2], "mixed": [1, "a"], "name": "rl", "flag": true, "object": {"a": 1}})");
  const SavedState saved(folder_ / "state.json");
  EXPECT_EQ(saved.count("count"), 3);
  EXPECT_EQ(saved.counts("counts"), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(saved.counts("counts", 2).size(), 2u);
  EXPECT_EQ(saved.number("half"), 0.5);
  EXPECT_EQ(saved.name("name"), "rl");
  EXPECT_TRUE(saved.flag("flag"));
  EXPECT_EQ(saved.object("object")["a"], 1);
  EXPECT_TRUE(saved.contains("name") && !saved.contains("absent"));
  const auto refused = [&](const char* key, const auto& read) {
    EXPECT_THAT(error_of([&] { read(key); }),
                AllOf(HasSubstr("[checkpoint] " + (folder_ / "state.json").string() + ": " + key + ": expected"),
                      HasSubstr("got")))
        << key;
  };
  for (const char* key : {"negative", "huge", "half", "counts", "name", "flag", "object", "absent"})
    refused(key, [&](const char* each) { saved.count(each); });
  for (const char* key : {"count", "mixed", "name", "object", "absent"})
    refused(key, [&](const char* each) { saved.counts(each); });
  for (const size_t size : {0u, 1u, 3u}) refused("counts", [&](const char* each) { saved.counts(each, size); });
  for (const char* key : {"name", "absent"}) refused(key, [&](const char* each) { saved.number(each); });
  for (const char* key : {"count", "flag", "absent"}) refused(key, [&](const char* each) { saved.name(each); });
  for (const char* key : {"count", "name", "absent"}) refused(key, [&](const char* each) { saved.flag(each); });
  for (const char* key : {"count", "counts", "absent"}) refused(key, [&](const char* each) { saved.object(each); });

  for (const char* text : {"", "[1]", "{\"a\": "}) {
    write_bytes(folder_ / "state.json", text);
    EXPECT_THAT(error_of([&] { SavedState(folder_ / "state.json"); }), HasSubstr("state.json: expected a JSON object"));
  }
  EXPECT_THAT(error_of([&] { SavedState(folder_ / "absent.json"); }), HasSubstr("absent.json: expected a file that can be read"));
}

}  // namespace
}  // namespace grpo
