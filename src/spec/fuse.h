// SPDX-License-Identifier: Apache-2.0
//
// FUSE requests and replies, as a file system device has them: Linux's include/uapi/linux/fuse.h.
// VIRTIO 1.3, 5.11.6. Only what has to be known to tell which files and handles a driver holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/le.h"

namespace airlock::spec {

inline constexpr std::uint32_t FUSE_LOOKUP = 1;
inline constexpr std::uint32_t FUSE_FORGET = 2;
inline constexpr std::uint32_t FUSE_SYMLINK = 6;
inline constexpr std::uint32_t FUSE_MKNOD = 8;
inline constexpr std::uint32_t FUSE_MKDIR = 9;
inline constexpr std::uint32_t FUSE_UNLINK = 10;
inline constexpr std::uint32_t FUSE_RMDIR = 11;
inline constexpr std::uint32_t FUSE_RENAME = 12;
inline constexpr std::uint32_t FUSE_LINK = 13;
inline constexpr std::uint32_t FUSE_OPEN = 14;
inline constexpr std::uint32_t FUSE_WRITE = 16;
inline constexpr std::uint32_t FUSE_RELEASE = 18;
inline constexpr std::uint32_t FUSE_REMOVEXATTR = 24;
inline constexpr std::uint32_t FUSE_INIT = 26;
inline constexpr std::uint32_t FUSE_OPENDIR = 27;
inline constexpr std::uint32_t FUSE_RELEASEDIR = 29;
inline constexpr std::uint32_t FUSE_CREATE = 35;
inline constexpr std::uint32_t FUSE_DESTROY = 38;
inline constexpr std::uint32_t FUSE_BATCH_FORGET = 42;
inline constexpr std::uint32_t FUSE_READDIRPLUS = 44;
inline constexpr std::uint32_t FUSE_RENAME2 = 45;
inline constexpr std::uint32_t FUSE_TMPFILE = 51;

// Of FUSE_INIT's flags, the second word as bits 32 to 63, by number.
inline constexpr unsigned FUSE_WRITEBACK_CACHE = 16;
inline constexpr unsigned FUSE_POSIX_ACL = 20;
inline constexpr unsigned FUSE_SUBMOUNTS = 27;
inline constexpr unsigned FUSE_SETXATTR_EXT = 29;
inline constexpr unsigned FUSE_INIT_EXT = 30;
inline constexpr unsigned FUSE_SECURITY_CTX = 32;
inline constexpr unsigned FUSE_CREATE_SUPP_GROUP = 34;

/// The root of every file system.
inline constexpr std::uint64_t FUSE_ROOT_ID = 1;

/// In front of every request.
struct FuseInHeader {
  Le32 len;           // +0   bytes, with this
  Le32 opcode;        // +4
  Le64 unique;        // +8   names the request in its reply
  Le64 nodeid;        // +16  what it is about
  Le32 uid;           // +24
  Le32 gid;           // +28
  Le32 pid;           // +32
  Le16 total_extlen;  // +36  extensions at its end, in units of 8 bytes
  Le16 padding;       // +38
};
static_assert(sizeof(FuseInHeader) == 40 && offsetof(FuseInHeader, nodeid) == 16);
static_assert(std::has_unique_object_representations_v<FuseInHeader>);

/// In front of every reply.
struct FuseOutHeader {
  Le32 len;     // +0  bytes, with this
  Le32 error;   // +4  0, or an errno as a negative number
  Le64 unique;  // +8  of the request
};
static_assert(sizeof(FuseOutHeader) == 16 && offsetof(FuseOutHeader, error) == 4);
static_assert(std::has_unique_object_representations_v<FuseOutHeader>);

/// What a name leads to: the reply to whatever finds or makes a file. Its attributes follow.
struct FuseEntryOut {
  Le64 nodeid;            // +0
  Le64 generation;        // +8
  Le64 entry_valid;       // +16
  Le64 attr_valid;        // +24
  Le32 entry_valid_nsec;  // +32
  Le32 attr_valid_nsec;   // +36
  std::uint8_t attr[88];  // +40
};
static_assert(sizeof(FuseEntryOut) == 128 && offsetof(FuseEntryOut, attr) == 40);
static_assert(std::has_unique_object_representations_v<FuseEntryOut>);

/// The reply to whatever opens; behind a FuseEntryOut where it makes the file too.
struct FuseOpenOut {
  Le64 fh;          // +0
  Le32 open_flags;  // +8
  Le32 backing_id;  // +12
};
static_assert(sizeof(FuseOpenOut) == 16 && offsetof(FuseOpenOut, open_flags) == 8);
static_assert(std::has_unique_object_representations_v<FuseOpenOut>);

/// OPEN, OPENDIR.
struct FuseOpenIn {
  Le32 flags;       // +0  open(2)'s
  Le32 open_flags;  // +4
};
static_assert(sizeof(FuseOpenIn) == 8);
static_assert(std::has_unique_object_representations_v<FuseOpenIn>);

/// CREATE, TMPFILE; a name follows.
struct FuseCreateIn {
  Le32 flags;       // +0  open(2)'s
  Le32 mode;        // +4
  Le32 umask;       // +8
  Le32 open_flags;  // +12
};
static_assert(sizeof(FuseCreateIn) == 16);
static_assert(std::has_unique_object_representations_v<FuseCreateIn>);

/// RELEASE, RELEASEDIR.
struct FuseReleaseIn {
  Le64 fh;             // +0
  Le32 flags;          // +8
  Le32 release_flags;  // +12
  Le64 lock_owner;     // +16
};
static_assert(sizeof(FuseReleaseIn) == 24);
static_assert(std::has_unique_object_representations_v<FuseReleaseIn>);

/// WRITE; the data follow.
struct FuseWriteIn {
  Le64 fh;           // +0
  Le64 offset;       // +8
  Le32 size;         // +16
  Le32 write_flags;  // +20
  Le64 lock_owner;   // +24
  Le32 flags;        // +32  open(2)'s
  Le32 padding;      // +36
};
static_assert(sizeof(FuseWriteIn) == 40 && offsetof(FuseWriteIn, flags) == 32);
static_assert(std::has_unique_object_representations_v<FuseWriteIn>);

/// MKNOD; a name follows.
struct FuseMknodIn {
  Le32 mode;     // +0
  Le32 rdev;     // +4
  Le32 umask;    // +8
  Le32 padding;  // +12
};
static_assert(sizeof(FuseMknodIn) == 16);
static_assert(std::has_unique_object_representations_v<FuseMknodIn>);

/// MKDIR; a name follows.
struct FuseMkdirIn {
  Le32 mode;   // +0
  Le32 umask;  // +4
};
static_assert(sizeof(FuseMkdirIn) == 8);
static_assert(std::has_unique_object_representations_v<FuseMkdirIn>);

/// RENAME, where the header's node is the old directory; both names follow. RENAME2 has flags too.
struct FuseRenameIn {
  Le64 newdir;  // +0
};
struct FuseRename2In {
  Le64 newdir;   // +0
  Le32 flags;    // +8  renameat2(2)'s
  Le32 padding;  // +12
};
static_assert(sizeof(FuseRenameIn) == 8 && sizeof(FuseRename2In) == 16);
static_assert(std::has_unique_object_representations_v<FuseRename2In>);

/// LINK, where the header's node is the new directory; the new name follows.
struct FuseLinkIn {
  Le64 oldnodeid;  // +0
};
static_assert(sizeof(FuseLinkIn) == 8);
static_assert(std::has_unique_object_representations_v<FuseLinkIn>);

/// FORGET, which has no reply: so many of the replies that named the node are forgotten.
struct FuseForgetIn {
  Le64 nlookup;  // +0
};
/// BATCH_FORGET, likewise; so many FuseForgetOne follow.
struct FuseBatchForgetIn {
  Le32 count;  // +0
  Le32 dummy;  // +4
};
struct FuseForgetOne {
  Le64 nodeid;   // +0
  Le64 nlookup;  // +8
};
static_assert(sizeof(FuseForgetIn) == 8 && sizeof(FuseBatchForgetIn) == 8 &&
              sizeof(FuseForgetOne) == 16);
static_assert(std::has_unique_object_representations_v<FuseForgetOne>);

/// READDIRPLUS's reply has a FuseEntryOut and one of these for each name, which follows; what comes
/// next starts at a multiple of 8 bytes.
struct FuseDirent {
  Le64 ino;      // +0
  Le64 off;      // +8
  Le32 namelen;  // +16
  Le32 type;     // +20
};
static_assert(sizeof(FuseDirent) == 24 && offsetof(FuseDirent, namelen) == 16);
static_assert(std::has_unique_object_representations_v<FuseDirent>);

/// INIT's reply, up to the second word of its flags.
struct FuseInitOut {
  Le32 major;                 // +0
  Le32 minor;                 // +4
  Le32 max_readahead;         // +8
  Le32 flags;                 // +12
  Le16 max_background;        // +16
  Le16 congestion_threshold;  // +18
  Le32 max_write;             // +20
  Le32 time_gran;             // +24
  Le16 max_pages;             // +28
  Le16 map_alignment;         // +30
  Le32 flags2;                // +32
};
static_assert(sizeof(FuseInitOut) == 36 && offsetof(FuseInitOut, flags) == 12 &&
              offsetof(FuseInitOut, flags2) == 32);
static_assert(std::has_unique_object_representations_v<FuseInitOut>);

}  // namespace airlock::spec
