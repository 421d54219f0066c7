#include "text/fill.h"

#include <algorithm>

namespace grpo {

std::string fill(std::string_view text, std::initializer_list<std::pair<std::string_view, std::string_view>> places) {
  std::string result;
  for (std::size_t i = 0; i < text.size();) {
    const auto place = std::find_if(places.begin(), places.end(),
                                    [&](const auto& each) { return text.substr(i).starts_with(each.first); });
    if (place == places.end()) {
      result += text[i++];
    } else {
      result += place->second;
      i += place->first.size();
    }
  }
  return result;
}

}  // namespace grpo
