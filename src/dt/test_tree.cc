// SPDX-License-Identifier: Apache-2.0
#include "dt/test_tree.h"

#include <libfdt.h>

#include "base/check.h"

namespace airlock::dt {

namespace {

constexpr std::size_t kRoom = std::size_t{4} << 20;

}  // namespace

TreeBuilder::TreeBuilder(const std::vector<Range>& reserved) : blob_(kRoom) {
  CHECK(fdt_create(blob_.data(), static_cast<int>(blob_.size())) == 0);
  for (const Range& range : reserved)
    CHECK(fdt_add_reservemap_entry(blob_.data(), range.first, range.bytes) == 0);
  CHECK(fdt_finish_reservemap(blob_.data()) == 0);
}

TreeBuilder& TreeBuilder::begin(const std::string& name) {
  CHECK(fdt_begin_node(blob_.data(), name.c_str()) == 0);
  return *this;
}

TreeBuilder& TreeBuilder::end() {
  CHECK(fdt_end_node(blob_.data()) == 0);
  return *this;
}

TreeBuilder& TreeBuilder::flag(const std::string& name) {
  return bytes(name, "");
}

TreeBuilder& TreeBuilder::text(const std::string& name, const std::string& value) {
  return bytes(name, value + '\0');
}

TreeBuilder& TreeBuilder::bytes(const std::string& name, const std::string& value) {
  CHECK(fdt_property(blob_.data(), name.c_str(), value.data(), static_cast<int>(value.size())) ==
        0);
  return *this;
}

TreeBuilder& TreeBuilder::cells(const std::string& name, const std::vector<std::uint32_t>& values) {
  std::string wire;
  for (const std::uint32_t value : values) {
    for (const int shift : {24, 16, 8, 0})
      wire += static_cast<char>(value >> shift & 0xff);
  }
  return bytes(name, wire);
}

std::vector<std::byte> TreeBuilder::finish() {
  CHECK(fdt_finish(blob_.data()) == 0);
  blob_.resize(fdt_totalsize(blob_.data()));
  return std::move(blob_);
}

namespace {

void add_pool_node(TreeBuilder& tree, const Machine& machine) {
  tree.begin("pool@50000000").text("compatible", machine.pool_compatible);
  if (machine.pool_size.empty()) {
    tree.cells("reg", machine.pool_reg);
  } else {
    tree.cells("size", machine.pool_size);
  }
  if (!machine.pool_status.empty()) tree.text("status", machine.pool_status);
  for (const std::string& flag : machine.pool_flags)
    tree.flag(flag);
  tree.cells("phandle", {kPoolPhandle}).end();
}

void add_reserved(TreeBuilder& tree, const Machine& machine) {
  tree.begin("reserved-memory").cells("#address-cells", {machine.address_cells});
  tree.cells("#size-cells", {2});
  if (machine.ranges) tree.flag("ranges");
  add_pool_node(tree, machine);
  if (!machine.second_reg.empty()) {
    tree.begin("second").text("compatible", "restricted-dma-pool");
    tree.cells("reg", machine.second_reg).cells("phandle", {kPoolPhandle + 2}).end();
  }
  if (!machine.other_reg.empty()) {
    tree.begin("firmware").cells("reg", machine.other_reg).end();
  }
  tree.end();
}

void add_devices(TreeBuilder& tree, const Machine& machine) {
  const auto regions = [&tree](const std::vector<std::uint32_t>& phandles) {
    if (!phandles.empty()) tree.cells("memory-region", phandles);
  };
  tree.begin("iommu@9050000").cells("phandle", {kIommuPhandle});
  if (!machine.iommu_status.empty()) tree.text("status", machine.iommu_status);
  tree.end();
  tree.begin("virtio@a000000").text("compatible", "virtio,mmio");
  regions(machine.disk_regions);
  if (machine.disk_iommu) tree.cells("iommus", {kIommuPhandle, 7});
  tree.end();
  tree.begin("pcie@10000000").text("device_type", "pci");
  regions(machine.bridge_regions);
  if (!machine.iommu_map.empty()) tree.cells("iommu-map", machine.iommu_map);
  tree.begin("card@1,0");
  regions(machine.card_regions);
  tree.end().end();
}

}  // namespace

std::vector<std::byte> Machine::blob() const {
  TreeBuilder tree(header_reserves);
  tree.begin("").cells("#address-cells", {2}).cells("#size-cells", {2});
  // In two halves that adjoin, as QEMU's NUMA nodes do.
  tree.begin("memory@40000000").text("device_type", "memory");
  tree.cells("reg", {0, 0x40000000, 0, 0x12000000}).end();
  tree.begin("memory@52000000").text("device_type", "memory");
  tree.cells("reg", {0, 0x52000000, 0, 0x0e000000}).end();
  add_reserved(tree, *this);
  add_devices(tree, *this);
  return tree.end().finish();
}

Tree Machine::tree() const {
  auto made = Tree::parse(blob());
  CHECK(made.has_value());
  return std::move(*made);
}

}  // namespace airlock::dt
