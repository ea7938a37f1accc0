// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "compare/models/open.h"
#include "compare/models/pool.h"
#include "compare/models/region.h"
#include "compare/models/share.h"
#include "compare/models/shared.h"
#include "compare/models/snoop.h"
#include "compare/models/viommu.h"
#include "compare/models/vmm_copy.h"

namespace airlock::compare {

namespace {

constexpr std::array kModels{
    &kRegion,      &kRegionInPlace, &kRegionAes,    &kRegionChaCha, &kPool,  &kShared, &kShare,
    &kShareBounce, &kViommu,        &kViommuBounce, &kVmmCopy,      &kSnoop, &kOpen};

}  // namespace

std::span<const Model* const> all_models() {
  return kModels;
}

const Model* find_model(std::string_view name) {
  const auto* const found =
      std::ranges::find(kModels, name, [](const Model* m) { return m->name; });
  return found == kModels.end() ? nullptr : *found;
}

}  // namespace airlock::compare
