// SPDX-License-Identifier: Apache-2.0
//
// The guest's side of vm_vsock_test.py, over AF_VSOCK:
//   vsock serve PORT COUNT stream|seqpacket    echoes COUNT connections, one after the other
//   vsock check PORT BYTES stream|seqpacket [CID]
//                                   sends BYTES to the host, or to CID; checks that they come back
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define BLOCK 65536
#define SEED 88172645463325252u

static void fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static struct sockaddr_vm address_of(unsigned cid, unsigned port) {
  struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
  return address;
}

static int serve(unsigned port, long count, int type) {
  const int listener = socket(AF_VSOCK, type, 0);
  struct sockaddr_vm address = address_of(VMADDR_CID_ANY, port);
  if (listener < 0 || bind(listener, (struct sockaddr*)&address, sizeof address) != 0 ||
      listen(listener, 16) != 0)
    fail("listen");
  static char block[BLOCK];
  for (long i = 0; i < count; i++) {
    const int peer = accept(listener, NULL, NULL);
    if (peer < 0) fail("accept");
    ssize_t got;
    while ((got = recv(peer, block, sizeof block, 0)) > 0) {
      for (ssize_t sent = 0; sent < got;) {
        const ssize_t some = send(peer, block + sent, got - sent, 0);
        if (some < 0) fail("send");
        sent += some;
      }
    }
    if (got < 0) fail("recv");
    close(peer);
  }
  return 0;
}

// The same bytes on both ends of the way: xorshift.
struct stream {
  uint64_t state;
};

static void next_block(struct stream* stream, uint64_t* words, size_t count) {
  uint64_t x = stream->state;
  for (size_t i = 0; i < count; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    words[i] = x;
  }
  stream->state = x;
}

// Waits for room, as it must: Linux takes half a message from a sender that does not wait.
static void send_all(int peer, uint64_t bytes, int type) {
  static uint64_t block[BLOCK / 8];
  struct stream stream = {SEED};
  size_t at = BLOCK;
  for (uint64_t sent = 0; sent < bytes;) {
    if (at == BLOCK) {
      next_block(&stream, block, BLOCK / 8);
      at = 0;
    }
    // Messages of seqpacket have all lengths.
    size_t length = BLOCK - at;
    if (type == SOCK_SEQPACKET && length > 1 + sent % 40000) length = 1 + sent % 40000;
    if (length > bytes - sent) length = bytes - sent;
    const ssize_t some = send(peer, (char*)block + at, length, 0);
    if (some < 0) fail("send");
    at += (size_t)some;
    sent += (uint64_t)some;
  }
  if (shutdown(peer, SHUT_WR) != 0) fail("shutdown");
}

static int check(unsigned cid, unsigned port, uint64_t bytes, int type) {
  const int peer = socket(AF_VSOCK, type, 0);
  struct sockaddr_vm address = address_of(cid, port);
  if (peer < 0 || connect(peer, (struct sockaddr*)&address, sizeof address) != 0) fail("connect");
  const pid_t sender = fork();
  if (sender < 0) fail("fork");
  if (sender == 0) {
    send_all(peer, bytes, type);
    _exit(0);
  }
  static uint64_t expected[BLOCK / 8];
  static char in[BLOCK];
  struct stream stream = {SEED};
  uint64_t checked = 0;
  size_t expected_at = BLOCK;
  ssize_t got;
  while ((got = recv(peer, in, sizeof in, 0)) > 0) {
    for (ssize_t at = 0; at < got;) {
      if (expected_at == BLOCK) {
        next_block(&stream, expected, BLOCK / 8);
        expected_at = 0;
      }
      size_t length = (size_t)(got - at);
      if (length > BLOCK - expected_at) length = BLOCK - expected_at;
      if (memcmp(in + at, (char*)expected + expected_at, length) != 0) {
        fprintf(stderr, "wrong bytes at %llu\n", (unsigned long long)checked);
        return 1;
      }
      at += (ssize_t)length;
      expected_at += length;
      checked += length;
    }
  }
  if (got < 0) fail("recv");
  int status = 1;
  if (waitpid(sender, &status, 0) != sender || status != 0) return 1;
  printf("checked %llu bytes\n", (unsigned long long)checked);
  return checked == bytes ? 0 : 1;
}

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) return 2;
  const unsigned cid = argc == 6 ? (unsigned)strtoul(argv[5], NULL, 0) : VMADDR_CID_HOST;
  const unsigned port = (unsigned)strtoul(argv[2], NULL, 0);
  const int type = strcmp(argv[4], "seqpacket") == 0 ? SOCK_SEQPACKET : SOCK_STREAM;
  if (strcmp(argv[1], "serve") == 0) return serve(port, strtol(argv[3], NULL, 0), type);
  if (strcmp(argv[1], "check") == 0) return check(cid, port, strtoull(argv[3], NULL, 0), type);
  return 2;
}
