// SPDX-License-Identifier: Apache-2.0
//
// Goal: a hostile server can neither mislead the client nor keep it waiting, nor leave it an fd.
// Method: the client numbers its messages 1, 2, ..., so the test writes a server's replies into the
// socket before the client asks.
#include "vfio_user/client.h"

#include <gtest/gtest.h>

#include <thread>

#include "spec/vfio_user_io_fds.h"
#include "vfio_user/version.h"
#include "wire/raw_peer.h"
#include "wire/region_info.h"

namespace airlock::vfio_user {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kReply = spec::VFIO_USER_F_TYPE_REPLY;
constexpr std::uint32_t kErrorReply = kReply | spec::VFIO_USER_F_ERROR;
constexpr std::uint64_t kPage = 4096;

Bytes version_payload(std::string_view json) {
  Bytes payload = bytes_of(spec::VfioUserVersion{.major = 0, .minor = 0});
  if (json.empty()) return payload;
  const auto text = std::as_bytes(std::span(json));
  payload.insert(payload.end(), text.begin(), text.end());
  payload.push_back(std::byte{0});
  return payload;
}

class ClientTest : public testing::Test {
 protected:
  // A client whose next message has number 2.
  Client make(std::string_view json = R"({"capabilities":{"max_msg_fds":8}})",
              std::chrono::milliseconds timeout = 10s) {
    auto [peer, socket] = RawPeer::pair();
    server_ = std::make_unique<RawPeer>(std::move(peer));
    CHECK(server_->send(make_message(1, spec::VFIO_USER_VERSION, version_payload(json), kReply)));
    return MUST(Client::adopt(std::move(socket), {.timeout = timeout}));
  }

  // What a client says to this answer to its VERSION.
  Result<Client> greet(const Bytes& reply) {
    auto [peer, socket] = RawPeer::pair();
    server_ = std::make_unique<RawPeer>(std::move(peer));
    CHECK(server_->send(reply));
    server_->shutdown_writing();
    return Client::adopt(std::move(socket), {});
  }

  void reply(std::uint16_t id, std::uint16_t command, const Bytes& payload = {},
             const std::vector<Fd>& fds = {}) {
    CHECK(server_->send(make_message(id, command, payload, kReply), fds));
  }

  // The error of reset() when the server answers with `bytes`; the client must be unusable after.
  Errc reset_error(const Bytes& bytes, const std::vector<Fd>& fds = {}) {
    Client client = make();
    CHECK(server_->send(bytes, fds));
    const auto result = client.reset();
    EXPECT_FALSE(result.has_value());
    EXPECT_EQ(client.reset().error().code, Errc::kPeerClosed);
    EXPECT_TRUE(hung_up());
    return result.error().code;
  }

  // Whether the client has closed its end; what it had sent is skipped.
  bool hung_up() {
    while (server_->receive()) {
    }
    return server_->closed_by_peer();
  }

  std::unique_ptr<RawPeer> server_;
};

// --- VERSION ----------------------------------------------------------------------------------

TEST_F(ClientTest, TakesWhatTheServerOffersWithinItsOwnLimits) {
  EXPECT_EQ(make("").version().max_msg_fds, 1U);
  EXPECT_EQ(make("").version().max_data_xfer_size, 1U << 20U);
  const Client client = make(
      R"({"capabilities":{"max_msg_fds":99999999999,"max_data_xfer_size":99999999999,"x":[]}})");
  EXPECT_EQ(client.version().max_msg_fds, 16U);
  EXPECT_EQ(client.version().max_data_xfer_size, 1U << 20U);
  // What it proposed: QEMU's own version, so that no server is asked for anything new.
  const auto proposed = MUST(parse_version(server_->expect().payload));
  EXPECT_EQ(proposed.major, 0);
  EXPECT_EQ(proposed.minor, 0);
}

TEST_F(ClientTest, RefusesVersionsThatItDidNotPropose) {
  const auto version = [](std::uint16_t major, std::uint16_t minor) {
    return make_message(1, spec::VFIO_USER_VERSION,
                        bytes_of(spec::VfioUserVersion{.major = major, .minor = minor}), kReply);
  };
  EXPECT_TRUE(greet(version(0, 0)).has_value());
  EXPECT_EQ(greet(version(1, 0)).error().code, Errc::kMalformed);
  EXPECT_EQ(greet(version(0, 1)).error().code, Errc::kMalformed);
  EXPECT_EQ(greet(make_message(1, spec::VFIO_USER_VERSION, Bytes(3), kReply)).error().code,
            Errc::kMalformed);
  EXPECT_EQ(
      greet(make_message(1, spec::VFIO_USER_VERSION, version_payload("{"), kReply)).error().code,
      Errc::kMalformed);
  EXPECT_EQ(greet(make_message(1, spec::VFIO_USER_VERSION, Bytes(5000), kReply)).error().code,
            Errc::kMalformed);
  EXPECT_EQ(greet(make_message(1, spec::VFIO_USER_VERSION, {}, kErrorReply, EACCES)).error(),
            system_error(EACCES));
  EXPECT_EQ(greet({std::byte{0}}).error().code, Errc::kPeerClosed);
}

// --- Any reply --------------------------------------------------------------------------------

TEST_F(ClientTest, TellsTheServersErrnoAndGoesOn) {
  Client client = make();
  for (const std::uint32_t error : {std::uint32_t{EBUSY}, 0U, 5000U, UINT32_MAX}) {
    static std::uint16_t id = 1;
    CHECK(server_->send(make_message(++id, spec::VFIO_USER_DEVICE_RESET, {}, kErrorReply, error)));
    EXPECT_EQ(client.reset().error(), system_error(error == EBUSY ? EBUSY : EINVAL));
  }
  reply(6, spec::VFIO_USER_DEVICE_RESET);
  EXPECT_TRUE(client.reset().has_value());
}

TEST_F(ClientTest, RefusesRepliesToSomethingElse) {
  constexpr auto kReset = spec::VFIO_USER_DEVICE_RESET;
  EXPECT_EQ(reset_error(make_message(3, kReset, {}, kReply)), Errc::kMalformed);
  EXPECT_EQ(reset_error(make_message(1, kReset, {}, kReply)), Errc::kMalformed);
  EXPECT_EQ(reset_error(make_message(2, kReset + 1, {}, kReply)), Errc::kMalformed);
  EXPECT_EQ(reset_error(make_message(2, kReset, {}, 2)), Errc::kMalformed);
  EXPECT_EQ(reset_error(make_message(2, kReset, Bytes(1), kReply)), Errc::kMalformed);
  EXPECT_EQ(reset_error(make_message(2, kReset, Bytes(1), kErrorReply, 1)), Errc::kMalformed);
  EXPECT_EQ(reset_error(bytes_of(spec::VfioUserHeader{2, kReset, 15, kReply, 0})),
            Errc::kMalformed);
  EXPECT_EQ(reset_error(bytes_of(spec::VfioUserHeader{2, kReset, UINT32_MAX, kReply, 0})),
            Errc::kMalformed);
}

TEST_F(ClientTest, RefusesFdsThatItDidNotAskForAndClosesThem) {
  constexpr auto kReset = spec::VFIO_USER_DEVICE_RESET;
  server_.reset();
  const auto before = open_fds();
  for (const std::size_t count : {1U, 2U, 17U, 253U}) {
    EXPECT_EQ(reset_error(make_message(2, kReset, {}, kReply), some_eventfds(count)),
              Errc::kMalformed);
    EXPECT_EQ(reset_error(make_message(2, kReset, {}, kErrorReply, 1), some_eventfds(count)),
              Errc::kMalformed);
  }
  server_.reset();
  EXPECT_EQ(open_fds(), before);
}

TEST_F(ClientTest, NoticesThatTheServerLeft) {
  Client client = make();
  server_->close();
  EXPECT_EQ(client.reset().error().code, Errc::kPeerClosed);
  EXPECT_EQ(client.write(0, 0, Bytes(4), Client::Posted::kYes).error().code, Errc::kPeerClosed);
  Client other = make();
  CHECK(server_->send(Bytes(15)));
  server_->shutdown_writing();
  EXPECT_EQ(other.reset().error().code, Errc::kPeerClosed);
}

// --- Waits ------------------------------------------------------------------------------------

TEST_F(ClientTest, WaitsForAnAnswerAsLongAsItSays) {
  Client client = make("", 30ms);
  const auto start = std::chrono::steady_clock::now();
  const auto result = client.reset();
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error(), (Error{.code = Errc::kTimeout, .detail = 30}));
  EXPECT_GE(std::chrono::steady_clock::now() - start, 30ms);
  // A late reply must not be taken for the next one's.
  EXPECT_EQ(client.reset().error().code, Errc::kPeerClosed);
}

TEST_F(ClientTest, DoesNotLetAServerThatTricklesKeepItWaiting) {
  Client client = make("", 100ms);
  const std::jthread trickle([this] {
    const Bytes message = make_message(2, spec::VFIO_USER_REGION_READ, Bytes(60000), kReply);
    // A byte at a time, with a pause, until the client has had enough.
    for (std::size_t i = 0; i < message.size() && server_->send({message[i]}); ++i) {
      pollfd state = {.fd = server_->fd(), .events = POLLRDHUP, .revents = 0};
      poll(&state, 1, 1);
    }
  });
  Bytes target(59984);
  EXPECT_EQ(client.read(0, 0, target).error().code, Errc::kTimeout);
}

TEST_F(ClientTest, DoesNotLetCommandsKeepItWaiting) {
  Client client = make("", 100ms);
  const std::jthread flood([this] {
    const Bytes message =
        make_message(9, spec::VFIO_USER_DMA_WRITE, Bytes(16), spec::VFIO_USER_F_NO_REPLY);
    while (server_->send(message)) {
    }
  });
  EXPECT_EQ(client.reset().error().code, Errc::kTimeout);
}

TEST_F(ClientTest, DoesNotWaitForAServerThatNeverReads) {
  Client client = make("", 50ms);
  const Bytes source(4096);
  Result<void> result;
  int sent = 0;
  for (; result && sent < 100000; ++sent) {
    result = client.write(0, 0, source, Client::Posted::kYes);
  }
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Errc::kTimeout);
}

TEST_F(ClientTest, DoesNotWaitForAServerWithAFullBacklog) {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("vfio_user_" + std::to_string(getpid()))).string();
  const sockaddr_un address = MUST(unix_address(path));
  const Fd listener = MUST(own_fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener.get(), 0), 0);
  const RawPeer first = RawPeer::connect(path);
  EXPECT_EQ(Client::connect(path, {.timeout = 30ms}).error().code, Errc::kTimeout);
  unlink(path.c_str());
  EXPECT_EQ(Client::connect(path, {}).error(), system_error(ENOENT));
}

// --- Commands from the server. VFIO_USER 1.13 -------------------------------------------------

TEST_F(ClientTest, RefusesToHandOverMemory) {
  Client client = make();
  for (const std::uint16_t command :
       {spec::VFIO_USER_DMA_READ, spec::VFIO_USER_DMA_WRITE, std::uint16_t{999}}) {
    CHECK(server_->send(make_message(0x77, command, Bytes(16)), some_eventfds(1)));
  }
  CHECK(server_->send(
      make_message(0x78, spec::VFIO_USER_DMA_WRITE, Bytes(16), spec::VFIO_USER_F_NO_REPLY)));
  reply(2, spec::VFIO_USER_DEVICE_RESET);
  EXPECT_TRUE(client.reset().has_value());
  EXPECT_EQ(client.refused_commands(), 4U);
  server_->receive();  // VERSION
  server_->receive();  // RESET
  for (const std::uint16_t command :
       {spec::VFIO_USER_DMA_READ, spec::VFIO_USER_DMA_WRITE, std::uint16_t{999}}) {
    const auto refusal = server_->expect();
    EXPECT_EQ(refusal.header.message_id, 0x77);
    EXPECT_EQ(refusal.header.command, command);
    EXPECT_EQ(refusal.header.flags, kErrorReply);
    EXPECT_EQ(refusal.header.error, static_cast<std::uint32_t>(EPERM));
    EXPECT_TRUE(refusal.payload.empty());
  }
  EXPECT_FALSE(server_->readable(0));
}

// --- Each command's own reply -----------------------------------------------------------------

TEST_F(ClientTest, RefusesInfosThatAreTooShortOrAboutSomethingElse) {
  Client device = make();
  reply(2, spec::VFIO_USER_DEVICE_GET_INFO, Bytes(15));
  EXPECT_EQ(device.device_info().error().code, Errc::kMalformed);
  Client irq = make();
  reply(2, spec::VFIO_USER_DEVICE_GET_IRQ_INFO,
        bytes_of(spec::VfioUserIrqInfo{.argsz = 16, .flags = 1, .index = 1, .count = 7}));
  EXPECT_EQ(irq.irq_info(2).error().code, Errc::kMalformed);
  EXPECT_EQ(irq.reset().error().code, Errc::kPeerClosed);
}

TEST_F(ClientTest, RefusesReadsOfAnotherLength) {
  for (const std::size_t length : {0U, 3U, 5U}) {
    Client client = make();
    reply(2, spec::VFIO_USER_REGION_READ, Bytes(16 + length));
    Bytes target(4, std::byte{0xee});
    EXPECT_EQ(client.read(0, 0, target).error().code, Errc::kMalformed);
    EXPECT_EQ(target, Bytes(4, std::byte{0xee}));
  }
}

TEST_F(ClientTest, SendsNoMoreThanTheServerTakes) {
  Client client = make(R"({"capabilities":{"max_data_xfer_size":8,"max_msg_fds":0}})");
  Bytes nine(9);
  EXPECT_EQ(client.read(0, 0, nine).error().code, Errc::kTooLarge);
  EXPECT_EQ(client.write(0, 0, nine).error().code, Errc::kTooLarge);
  const int fd = server_->fd();
  EXPECT_EQ(client.set_irq_eventfds(2, 0, std::span(&fd, 1)).error().code, Errc::kUnsupported);
  reply(2, spec::VFIO_USER_REGION_WRITE, Bytes(16));
  EXPECT_TRUE(client.write(0, 0, Bytes(8)).has_value());
}

// libvfio-user's servers without DMA, and others, answer with a bare header.
TEST_F(ClientTest, TakesBareRepliesToWritesAndUnmaps) {
  Client client = make();
  reply(2, spec::VFIO_USER_REGION_WRITE);
  EXPECT_TRUE(client.write(0, 0, Bytes(4)).has_value());
  reply(3, spec::VFIO_USER_DMA_UNMAP);
  EXPECT_TRUE(client.dma_unmap(0, 4096).has_value());
}

// --- Region info. VFIO_USER 1.7 ---------------------------------------------------------------

// A region of two pages whose second one can be mapped; what a test spoils.
struct InfoReply {
  spec::VfioUserRegionInfo info{
      .argsz = 64, .flags = 0xf, .index = 2, .cap_offset = 32, .size = 2 * kPage, .offset = kPage};
  spec::VfioRegionInfoCapSparseMmap sparse{
      .header = {.id = 1, .version = 1, .next = 0}, .nr_areas = 1, .reserved = 0};
  spec::VfioRegionSparseMmapArea area{.offset = kPage, .size = kPage};

  [[nodiscard]] Bytes bytes() const { return bytes_of(info) + bytes_of(sparse) + bytes_of(area); }
};

Result<ParsedRegionInfo> parse(const Bytes& payload) {
  return parse_region_info(payload, 2, true);
}

TEST(RegionInfoParser, TakesWhatIsSound) {
  const auto parsed = MUST(parse(InfoReply().bytes()));
  ASSERT_EQ(parsed.areas.size(), 1U);
  EXPECT_EQ(parsed.areas[0].offset, kPage);
  InfoReply whole;  // without the capability, all of the region
  whole.info.flags = 7;
  EXPECT_EQ(MUST(parse(bytes_of(whole.info))).areas[0].size, 2 * kPage);
  whole.info.size = 5000;  // which has to be whole pages
  EXPECT_TRUE(MUST(parse(bytes_of(whole.info))).areas.empty());
  whole.info.flags = 3;
  EXPECT_TRUE(MUST(parse(bytes_of(whole.info))).areas.empty());
}

TEST(RegionInfoParser, SkipsCapabilitiesThatItDoesNotKnow) {
  InfoReply reply;
  const auto unknown = spec::VfioInfoCapHeader{.id = 3, .version = 1, .next = 40};
  const Bytes payload =
      bytes_of(reply.info) + bytes_of(unknown) + bytes_of(reply.sparse) + bytes_of(reply.area);
  EXPECT_EQ(MUST(parse(payload)).areas.size(), 1U);
}

template <class Spoil>
Errc error_of(Spoil spoil) {
  InfoReply reply;
  spoil(reply);
  const auto parsed = parse(reply.bytes());
  return parsed ? Errc::kSystem : parsed.error().code;
}

TEST(RegionInfoParser, RefusesAreasThatNobodyCanMap) {
  constexpr auto kMalformed = Errc::kMalformed;
  EXPECT_EQ(error_of([](InfoReply& r) { r.area.offset = 2 * kPage; }), kMalformed);
  EXPECT_EQ(error_of([](InfoReply& r) { r.area.size = 2 * kPage; }), kMalformed);
  EXPECT_EQ(error_of([](InfoReply& r) { r.area.size = 0; }), kMalformed);
  EXPECT_EQ(error_of([](InfoReply& r) { r.area.size = 100; }), kMalformed);
  EXPECT_EQ(error_of([](InfoReply& r) { r.area.offset = 100; }), kMalformed);
  EXPECT_EQ(error_of([](InfoReply& r) { r.area.offset = 0 - kPage; }), kMalformed);
  EXPECT_EQ(error_of([](InfoReply& r) { r.info.offset = 100; }), kMalformed);
  EXPECT_EQ(error_of([](InfoReply& r) { r.info.offset = 0 - kPage; }), kMalformed);
  EXPECT_EQ(error_of([](InfoReply& r) { r.info.size = kPage; }), kMalformed);
}

TEST(RegionInfoParser, RefusesCapabilitiesThatLieOutsideOrLoop) {
  constexpr auto kMalformed = Errc::kMalformed;
  for (const std::uint32_t offset : {0U, 1U, 31U, 57U, 64U, 4096U, UINT32_MAX}) {
    EXPECT_EQ(error_of([&](InfoReply& r) { r.info.cap_offset = offset; }), kMalformed) << offset;
  }
  for (const std::uint32_t next : {1U, 32U, 39U, 57U, UINT32_MAX}) {
    EXPECT_EQ(error_of([&](InfoReply& r) { r.sparse.header.next = next; }), kMalformed) << next;
  }
  for (const std::uint32_t areas : {2U, UINT32_MAX}) {
    EXPECT_EQ(error_of([&](InfoReply& r) { r.sparse.nr_areas = areas; }), kMalformed) << areas;
  }
  EXPECT_EQ(error_of([](InfoReply& r) { r.sparse.header.version = 2; }), kMalformed);
  EXPECT_EQ(error_of([](InfoReply& r) { r.info.index = 3; }), kMalformed);
  EXPECT_EQ(error_of([](InfoReply& r) { r.info.argsz = 31; }), kMalformed);
  EXPECT_FALSE(parse(Bytes(31)).has_value());
  // Two of them, each sound.
  InfoReply twice;
  twice.sparse.header.next = 64;
  EXPECT_FALSE(parse(twice.bytes() + bytes_of(InfoReply().sparse) + bytes_of(twice.area)));
}

TEST_F(ClientTest, AsksAgainWithTheRoomThatTheServerWants) {
  Client client = make();
  InfoReply all;
  InfoReply bare;
  bare.info.flags = 7;
  bare.info.cap_offset = 0;
  reply(2, spec::VFIO_USER_DEVICE_GET_REGION_INFO, bytes_of(bare.info));
  reply(3, spec::VFIO_USER_DEVICE_GET_REGION_INFO, all.bytes(), some_eventfds(1));
  const auto region = MUST(client.region(2));
  EXPECT_TRUE(region.fd);
  EXPECT_EQ(region.file_offset, kPage);
  EXPECT_EQ(region.areas.size(), 1U);
  server_->receive();
  EXPECT_EQ(require_struct<spec::VfioUserRegionInfo>(server_->expect().payload).argsz, 32U);
  EXPECT_EQ(require_struct<spec::VfioUserRegionInfo>(server_->expect().payload).argsz, 64U);
}

TEST_F(ClientTest, RefusesAServerThatWantsEverMoreRoom) {
  const auto region_error = [&](std::uint32_t first, std::uint32_t second) {
    Client client = make();
    InfoReply info;
    info.info.argsz = first;
    reply(2, spec::VFIO_USER_DEVICE_GET_REGION_INFO, bytes_of(info.info));
    info.info.argsz = second;
    reply(3, spec::VFIO_USER_DEVICE_GET_REGION_INFO, bytes_of(info.info));
    const auto region = client.region(2);
    EXPECT_EQ(client.reset().error().code, Errc::kPeerClosed);
    return region ? Errc::kSystem : region.error().code;
  };
  EXPECT_EQ(region_error(64, 128), Errc::kMalformed);
  EXPECT_EQ(region_error(4097, 4097), Errc::kMalformed);
  EXPECT_EQ(region_error(UINT32_MAX, 64), Errc::kMalformed);
}

// --- Doorbells: VFIO_USER 1.8 -----------------------------------------------------------------

using IoFds = spec::VfioUserRegionIoFds;
using IoFd = spec::VfioUserSubRegionIoeventfd;
constexpr auto kIoFds = spec::VFIO_USER_DEVICE_GET_REGION_IO_FDS;

// Two sound doorbells of region 3, which a test spoils.
struct DoorbellReply {
  IoFds info{.argsz = 96, .flags = 0, .index = 3, .count = 2};
  IoFd first{.offset = 0x3000,
             .size = 2,
             .fd_index = 1,
             .type = 0,
             .flags = 0,
             .padding = 0,
             .datamatch = 0};
  IoFd second{.offset = 0x3004,
              .size = 4,
              .fd_index = 0,
              .type = 0,
              .flags = 0,
              .padding = 0,
              .datamatch = 0};
  std::size_t fds = 2;

  [[nodiscard]] Bytes bytes() const { return bytes_of(info) + bytes_of(first) + bytes_of(second); }
};

class ClientDoorbellTest : public ClientTest {
 protected:
  Result<Client::Doorbells> ask(Client& client, const Bytes& payload, const std::vector<Fd>& fds) {
    reply(2, kIoFds, payload, fds);
    return client.doorbells(3, 0x4000);
  }
  template <class Spoil>
  Errc error_of(Spoil spoil) {
    Client client = make();
    DoorbellReply lie;
    spoil(lie);
    const auto found = ask(client, lie.bytes(), some_eventfds(lie.fds));
    EXPECT_FALSE(found.has_value());
    EXPECT_TRUE(hung_up());
    return found ? Errc::kSystem : found.error().code;
  }
  template <class Spoil>
  std::size_t count_of(Spoil spoil) {
    Client client = make();
    DoorbellReply other;
    spoil(other);
    const auto found = MUST(ask(client, other.bytes(), some_eventfds(other.fds)));
    EXPECT_EQ(found.fds.empty(), found.eventfds.empty());
    // What is merely of no use does not end the connection.
    reply(3, spec::VFIO_USER_DEVICE_RESET);
    EXPECT_TRUE(client.reset().has_value());
    return found.eventfds.size();
  }
};

TEST_F(ClientDoorbellTest, TakesDoorbells) {
  Client client = make();
  const auto found = MUST(ask(client, DoorbellReply().bytes(), some_eventfds(2)));
  ASSERT_EQ(found.eventfds.size(), 2U);
  EXPECT_EQ(found.eventfds[0].offset, 0x3000U);
  EXPECT_EQ(found.eventfds[0].size, 2U);
  EXPECT_EQ(found.eventfds[0].fd_index, 1U);
  EXPECT_EQ(found.eventfds[1].offset, 0x3004U);
  EXPECT_EQ(found.eventfds[1].size, 4U);
  EXPECT_EQ(found.fds.size(), 2U);
  server_->receive();
  const auto asked = require_struct<IoFds>(server_->expect().payload);
  EXPECT_EQ(asked.argsz, sizeof(IoFds) + 16 * sizeof(IoFd));
  EXPECT_EQ(asked.flags, 0U);
  EXPECT_EQ(asked.index, 3U);
  EXPECT_EQ(asked.count, 0U);
}

TEST_F(ClientDoorbellTest, DoesWithoutThoseOfAnotherKind) {
  EXPECT_EQ(count_of([](DoorbellReply&) {}), 2U);
  EXPECT_EQ(count_of([](DoorbellReply& r) { r.first.type = 1; }), 1U);
  EXPECT_EQ(count_of([](DoorbellReply& r) { r.first.flags = 1; }), 1U);
  EXPECT_EQ(count_of([](DoorbellReply& r) { r.first.size = 0; }), 1U);
  EXPECT_EQ(count_of([](DoorbellReply& r) { r.first.size = 3; }), 1U);
  EXPECT_EQ(count_of([](DoorbellReply& r) { r.second.size = 16; }), 1U);
  EXPECT_EQ(count_of([](DoorbellReply& r) { r.info.count = 0; }), 0U);
  EXPECT_EQ(count_of([](DoorbellReply& r) { r.info.argsz = 112; }), 0U);  // of 48 bytes each
  EXPECT_EQ(count_of([](DoorbellReply& r) { r.info.argsz = 80; }), 0U);
  EXPECT_EQ(count_of([](DoorbellReply& r) { r.info.argsz = UINT32_MAX; }), 0U);
}

TEST_F(ClientDoorbellTest, RefusesDoorbellsThatAreNone) {
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.info.argsz = 15; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.info.flags = 1; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.info.index = 2; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.info.count = 3; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.info.count = UINT32_MAX; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.first.offset = 0x3001; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.first.offset = 0x4000; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.first.offset = ~std::uint64_t{1}; }),
            Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.first.size = ~std::uint64_t{0}; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.first.offset = 0x3006; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.first.offset = r.second.offset; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.first.fd_index = 2; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.fds = 0; }), Errc::kMalformed);
  EXPECT_EQ(error_of([](DoorbellReply& r) { r.fds = 17; }), Errc::kMalformed);
}

TEST_F(ClientDoorbellTest, RefusesFdsWhoseWritingDoesSomethingElse) {
  Client client = make();
  std::vector<Fd> fds = some_eventfds(1);
  fds.push_back(MUST(own_fd(dup(server_->fd()))));
  EXPECT_EQ(ask(client, DoorbellReply().bytes(), fds).error().code, Errc::kMalformed);
  EXPECT_TRUE(hung_up());
}

TEST_F(ClientDoorbellTest, LetsAServerKnowNothingOfThem) {
  Client client = make();
  for (const std::uint32_t error : {std::uint32_t{EOPNOTSUPP}, std::uint32_t{EINVAL},
                                    std::uint32_t{ENOSYS}, std::uint32_t{ENOTTY}}) {
    static std::uint16_t id = 1;
    CHECK(server_->send(make_message(++id, kIoFds, {}, kErrorReply, error)));
    EXPECT_EQ(client.doorbells(3, 0x4000).error(), system_error(static_cast<int>(error)));
  }
  reply(6, spec::VFIO_USER_DEVICE_RESET);
  EXPECT_TRUE(client.reset().has_value());
}

TEST_F(ClientDoorbellTest, KeepsNoFdThatItHasNoUseFor) {
  const auto before = open_fds();
  {
    Client client = make();
    DoorbellReply none;
    none.info = {.argsz = 16, .flags = 0, .index = 3, .count = 0};
    reply(2, kIoFds, bytes_of(none.info), some_eventfds(16));
    EXPECT_TRUE(MUST(client.doorbells(3, 0x4000)).fds.empty());
  }
  server_.reset();
  EXPECT_EQ(open_fds(), before);
}

TEST_F(ClientTest, KeepsNoFdBeyondTheOneOfTheRegion) {
  const auto before = open_fds();
  {
    Client client = make();
    InfoReply info;
    info.info.flags = 3;  // not mappable, but with an fd all the same
    info.info.argsz = 32;
    reply(2, spec::VFIO_USER_DEVICE_GET_REGION_INFO, bytes_of(info.info), some_eventfds(1));
    EXPECT_FALSE(MUST(client.region(2)).fd);
    reply(3, spec::VFIO_USER_DEVICE_GET_REGION_INFO, bytes_of(info.info), some_eventfds(2));
    EXPECT_EQ(client.region(2).error().code, Errc::kMalformed);
  }
  server_.reset();
  EXPECT_EQ(open_fds(), before);
}

}  // namespace
}  // namespace airlock::vfio_user
