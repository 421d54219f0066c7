#include "grpo/error.h"

#include <csignal>
#include <filesystem>
#include <iostream>
#include <new>

#include "base/plain_words.h"
#include "grpo/config.h"
#include "grpo/stop.h"

namespace grpo {

std::string plain_words(const std::exception& error) {
  if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error)) {
    std::string paths = file->path1().string();
    if (!file->path2().empty()) paths += " and " + file->path2().string();
    return paths + (paths.empty() ? "" : ": ") + file->code().message();
  }
  if (dynamic_cast<const std::bad_alloc*>(&error)) return "the memory does not suffice";
  const std::string text = error.what();
  return text.substr(0, text.find("\nException raised from"));
}

std::string cut(std::string text, std::size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80) --limit;  // not inside a UTF-8 sequence
  return text.substr(0, limit) + "…";
}

std::string reason_of(const std::exception& error) {
  const std::string text = plain_words(error);
  return dynamic_cast<const Error*>(&error) ? text.substr(text.find("] ") + 2) : text;
}

int report(const std::exception& error) {
  if (const auto* help = dynamic_cast<const HelpRequested*>(&error)) {
    std::cout << help->what() << std::flush;
    return 0;
  }
  if (dynamic_cast<const ReaderGone*>(&error)) return 128 + SIGPIPE;
  std::cerr << "error: " << plain_words(error) << std::endl;
  return 1;
}

}  // namespace grpo
