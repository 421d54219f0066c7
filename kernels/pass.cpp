#include "grpo/pass.h"

#include "kernels/op.h"

namespace grpo {

int32_t PassBuilder::add(std::span<const int32_t> segment, int32_t first, int32_t parent) {
  for (const int32_t token : segment) tokens.push_back(token), positions.push_back(first++);
  starts.push_back(starts.back() + static_cast<int32_t>(segment.size()));
  parents.push_back(parent);
  return static_cast<int32_t>(parents.size()) - 1;
}

void PassBuilder::add_to_slot(std::span<const int32_t> segment, int32_t first, int32_t slot) {
  add(segment, first);
  slots.push_back(slot);
}

void PassBuilder::add_shared(int64_t rows) {
  require(parents.empty(), "pass", "expected shared rows as the first segment, got ", parents.size(), " before them");
  starts.push_back(static_cast<int32_t>(rows));
  parents.push_back(-1);
  shared = rows;
}

Pass PassBuilder::build(at::Device device) const {
  const auto on_device = [&](const std::vector<int32_t>& values) { return at::tensor(values, at::kInt).to(device); };
  Pass pass{on_device(tokens), on_device(positions), on_device(starts), {}, {}, {}, {}, starts, parents, shared};
  if (!slots.empty() || parents.empty()) {
    require(slots.size() == parents.size(), "pass", "expected a slot for each of ", parents.size(), " segments, got ",
            slots.size());
    pass.slots = on_device(slots);
    return pass;
  }
  std::vector<int32_t> families;
  for (size_t s = 0; s < parents.size(); ++s) {
    if (parents[s] < 0) families.push_back(static_cast<int32_t>(s));
    require(parents[s] < 0 || (!families.empty() && parents[s] == families.back()), "pass", "segment ", s,
            ": expected the family of the last segment without parent, got ", parents[s], " as its parent");
  }
  families.push_back(static_cast<int32_t>(parents.size()));
  pass.parents = on_device(parents);
  pass.families = on_device(families);
  return pass;
}

}  // namespace grpo
