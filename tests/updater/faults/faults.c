// SPDX-License-Identifier: Apache-2.0
//
// One fault of the machine in a program that runs with this library in LD_PRELOAD.
//
// What it does is said in FAULT_* (see machine.py). Calls that match are counted; the first
// FAULT_SKIP pass, FAULT_TIMES are hit, and each of these leaves a line in FAULT_LOG. The calls
// themselves are raw system calls, so that nothing has to be looked up.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { LARGE = 32 << 10 };  // the least allocation that fails where there is no memory

static char *fault_call, *fault_kind, *fault_path, *fault_log;
static long long fault_from, fault_to, fault_skip, fault_times, fault_value;
static atomic_llong seen, ahead_s;
static atomic_int no_memory;

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

__attribute__((constructor)) static void read_orders(void) {
    // Not gpg, which caflip starts: the fault is one of caflip's own process.
    if (strncmp(program_invocation_short_name, "python", 6) != 0 || !getenv("FAULT_CALL")) return;
    fault_kind = getenv("FAULT_KIND");
    fault_path = getenv("FAULT_PATH");
    fault_log = getenv("FAULT_LOG");
    fault_from = atoll(getenv("FAULT_FROM"));
    fault_to = atoll(getenv("FAULT_TO"));
    fault_skip = atoll(getenv("FAULT_SKIP"));
    fault_times = atoll(getenv("FAULT_TIMES"));
    fault_value = atoll(getenv("FAULT_VALUE"));
    fault_call = getenv("FAULT_CALL");
}

static int is(const char *kind) { return strcmp(fault_kind, kind) == 0; }

// Whether this call is to fail or to lie; what only begins with it has begun then.
static int hit(const char *call, const char *path, long long at, long long length) {
    char line[PATH_MAX + 64];
    if (!fault_call || strcmp(call, fault_call) != 0 || !strstr(path, fault_path)) return 0;
    if (at >= fault_to || at + length <= fault_from) return 0;
    long long number = atomic_fetch_add(&seen, 1);
    if (number < fault_skip || number >= fault_skip + fault_times) return 0;
    int log = syscall(SYS_openat, AT_FDCWD, fault_log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int count = snprintf(line, sizeof line, "%s %s %lld %lld\n", call, path, at, length);
    syscall(SYS_write, log, line, count);
    syscall(SYS_close, log);
    if (is("signal")) {
        kill(getpid(), (int)fault_value);
    } else if (is("clock")) {
        atomic_store(&ahead_s, fault_value);
    } else if (is("memory")) {
        atomic_store(&no_memory, 1);
    } else {
        return 1;
    }
    return 0;
}

static int hit_fd(const char *call, int fd, long long at, long long length) {
    char link[64], path[PATH_MAX];
    if (!fault_call) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t count = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (count < 0) return 0;
    path[count] = 0;
    return hit(call, path, at, length);
}

static int fails(void) {
    if (is("error")) errno = (int)fault_value;
    return is("error");
}

// Flip the first byte of the range that was asked for; where `data` begins is `at`.
static void corrupt(char *data, long long at) { data[at < fault_from ? fault_from - at : 0] ^= 0x55; }

static ssize_t read_at(int fd, void *data, size_t length, long long at, int bad) {
    ssize_t count = syscall(SYS_pread64, fd, data, bad && is("short") ? (length + 1) / 2 : length, at);
    if (bad && is("corrupted") && count > 0 && fault_from < at + count) corrupt(data, at);
    return count;
}

ssize_t pread64(int fd, void *data, size_t length, off64_t at) {
    int bad = hit_fd("read", fd, at, length);
    return bad && fails() ? -1 : read_at(fd, data, length, at, bad);
}

ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags) {
    if (count != 1 || flags) return syscall(SYS_preadv2, fd, parts, count, at, 0, flags);
    return pread64(fd, parts->iov_base, parts->iov_len, at);
}

ssize_t read(int fd, void *data, size_t length) {
    long long at = fault_call ? lseek64(fd, 0, SEEK_CUR) : 0;
    int bad = hit_fd("read", fd, at, length);
    if (bad && fails()) return -1;
    ssize_t count = syscall(SYS_read, fd, data, length);
    if (bad && is("corrupted") && count > 0 && fault_from < at + count) corrupt(data, at);
    return count;
}

static ssize_t written(int fd, const void *data, size_t length, long long at, int positioned) {
    char *copy = NULL;
    if (!hit_fd("write", fd, at, length)) goto well;
    if (fails()) return -1;
    if (is("dropped")) return positioned ? (ssize_t)length : lseek64(fd, length, SEEK_CUR) * 0 + (ssize_t)length;
    if (is("short")) length = (length + 1) / 2;
    if (is("corrupted")) {
        data = copy = memcpy(__libc_malloc(length), data, length);
        corrupt(copy, at);
    }
well:;
    ssize_t count = positioned ? syscall(SYS_pwrite64, fd, data, length, at) : syscall(SYS_write, fd, data, length);
    free(copy);
    return count;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) { return written(fd, data, length, at, 1); }

ssize_t write(int fd, const void *data, size_t length) {
    return written(fd, data, length, fault_call ? lseek64(fd, 0, SEEK_CUR) : 0, 0);
}

int fallocate(int fd, int mode, off_t at, off_t length) {
    int bad = hit_fd("zero", fd, at, length);
    if (bad && fails()) return -1;
    return bad ? 0 : syscall(SYS_fallocate, fd, mode, at, length);
}

int fsync(int fd) { return hit_fd("flush", fd, 0, LLONG_MAX) && fails() ? -1 : syscall(SYS_fsync, fd); }

int fdatasync(int fd) { return hit_fd("flush", fd, 0, LLONG_MAX) && fails() ? -1 : syscall(SYS_fdatasync, fd); }

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    if (flags & O_CREAT && hit("create", path, 0, LLONG_MAX) && fails()) return -1;
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int rename(const char *path, const char *other) {
    if (hit("rename", other, 0, LLONG_MAX) && fails()) return -1;
    return syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, other, 0);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += atomic_load(&ahead_s);
    return result;
}

static int none_left(size_t length) {
    if (length < LARGE || !atomic_load(&no_memory)) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t length) { return none_left(length) ? NULL : __libc_malloc(length); }

void *calloc(size_t count, size_t length) {
    return none_left(count * length) ? NULL : __libc_calloc(count, length);
}

void *realloc(void *old, size_t length) { return none_left(length) ? NULL : __libc_realloc(old, length); }
