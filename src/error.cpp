#include "grpo/error.h"

#include <iostream>

#include "grpo/config.h"

namespace grpo {

int report(const std::exception& error) {
  if (const auto* help = dynamic_cast<const HelpRequested*>(&error)) {
    std::cout << help->what() << std::flush;
    return 0;
  }
  std::cerr << "error: " << error.what() << std::endl;
  return 1;
}

}  // namespace grpo
