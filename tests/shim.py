"""A library to be loaded before the C library: it lets calls fail, or writes them down.

Only what lies below the folder in SHIM_FOLDER counts.
"""
import ctypes
import os

from common import build_library

CALLS = ("open", "write", "fsync", "rename", "mkdir")
CODE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN, WRITE, FSYNC, RENAME, MKDIR, KINDS };
static long counts[KINDS], fail_at;
static int fail_kind = -1, fail_error, most = 0;
static FILE *notes;

/* Let call number `n` of one kind fail; kind -1: none does. */
void shim_fail(int kind, long n, int error)
{ memset(counts, 0, sizeof counts); fail_kind = kind; fail_at = n; fail_error = error; }
long shim_count(int kind) { return counts[kind]; }
/* Let each write take so many bytes at most; 0: all. */
void shim_shorten(int bytes) { most = bytes; }
void shim_write_down(const char *path)
{ if (notes) fclose(notes); notes = path ? fopen(path, "w") : 0; }

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }
static int ours(const char *path)
{
    const char *folder = getenv("SHIM_FOLDER");
    return folder && !strncmp(path, folder, strlen(folder));
}
static void find(int fd, const char *name, char *path)
{
    char link[64], folder[4000] = "";
    if (name && (name[0] == '/' || fd == AT_FDCWD)) { snprintf(path, 4096, "%s", name); return; }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, folder, sizeof folder - 1);
    folder[n < 0 ? 0 : n] = 0;
    snprintf(path, 4096, name ? "%s/%s" : "%s", folder, name);
}
static int fails(int kind)
{
    if (counts[kind]++ != fail_at || kind != fail_kind) return 0;
    errno = fail_error;
    return 1;
}
static void note(const char *call, const char *path, const char *rest)
{ if (notes) { fprintf(notes, "%s\t%s\t%s\n", call, path, rest); fflush(notes); } }

static int open_at(int at, const char *name, int flags, int mode)
{
    char path[4096];
    find(at, name, path);
    int (*next)(int, const char *, int, ...) = real("openat");
    if (!ours(path) || !(flags & O_CREAT)) return next(at, name, flags, mode);
    if (fails(OPEN)) return -1;
    if (access(path, F_OK)) note("create", path, "");
    return next(at, name, flags, mode);
}
#define MODE int mode = 0; if (flags & O_CREAT) \
    { va_list args; va_start(args, flags); mode = va_arg(args, int); va_end(args); }
int open(const char *name, int flags, ...) { MODE return open_at(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE return open_at(AT_FDCWD, name, flags, mode); }
int openat(int at, const char *name, int flags, ...) { MODE return open_at(at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...)
{ MODE return open_at(at, name, flags, mode); }
ssize_t write(int fd, const void *bytes, size_t n)
{
    char path[4096], size[32];
    ssize_t (*next)(int, const void *, size_t) = real("write");
    find(fd, 0, path);
    if (!ours(path)) return next(fd, bytes, n);
    if (fails(WRITE)) return -1;
    ssize_t written = next(fd, bytes, most && n > (size_t)most ? (size_t)most : n);
    snprintf(size, sizeof size, "%zd", written);
    note("write", path, size);
    return written;
}
int fsync(int fd)
{
    char path[4096];
    int (*next)(int) = real("fsync");
    find(fd, 0, path);
    if (!ours(path)) return next(fd);
    if (fails(FSYNC)) return -1;
    note("fsync", path, "");
    return 0;  /* the disk of a test need not have it */
}
int renameat(int from_at, const char *from, int to_at, const char *to)
{
    char path[4096], target[4096];
    int (*next)(int, const char *, int, const char *) = real("renameat");
    find(from_at, from, path); find(to_at, to, target);
    if (ours(path) && fails(RENAME)) return -1;
    int status = next(from_at, from, to_at, to);
    if (ours(path) && !status) note("rename", path, target);
    return status;
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }
int mkdir(const char *path, mode_t mode)
{
    int (*next)(const char *, mode_t) = real("mkdir");
    if (ours(path) && fails(MKDIR)) return -1;
    int status = next(path, mode);
    if (ours(path) && !status) note("mkdir", path, "");
    return status;
}
int unlinkat(int at, const char *name, int flags)
{
    char path[4096];
    int (*next)(int, const char *, int) = real("unlinkat");
    find(at, name, path);
    int status = next(at, name, flags);
    if (ours(path) && !status) note("remove", path, "");
    return status;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
"""


def build(folder, watched):
    """Build the library; return what a child's environment needs to have it."""
    build_library(folder / "shim.so", CODE)
    return {"LD_PRELOAD": str(folder / "shim.so"), "SHIM_FOLDER": str(watched)}


class Shim:
    """The library, in the child."""

    def __init__(self):
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"])

    def fail(self, call, n, error):
        """Let one of `CALLS` fail at its nth use from now."""
        self._library.shim_fail(CALLS.index(call), ctypes.c_long(n), error)

    def stop(self, call):
        """Let nothing fail any more; return how often one of `CALLS` was used."""
        count = self._library.shim_count(CALLS.index(call))
        self._library.shim_fail(-1, ctypes.c_long(0), 0)
        return count

    def shorten(self, most):
        """Let each write take so many bytes at most."""
        self._library.shim_shorten(most)

    def write_down(self, path):
        """Write all calls into a file from now on; None: no more."""
        self._library.shim_write_down(None if path is None else os.fsencode(path))
