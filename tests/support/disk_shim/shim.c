/* A disk between a program and its files: it records what is written, in order, and fails when it is told to.
 *
 * Preloaded into a server (LD_PRELOAD), it stands in for the calls of libc that change files, for those below
 * DISK_ROOT. Each call is made by its system call, so nothing has to be looked up, and nothing is called twice.
 *
 * DISK_LOG: every change is appended there as one record, by one write of a file opened with O_APPEND, while a lock
 * is held over the change and its record: the order of the records is the order of the changes. A sync is two records,
 * one before and one after it; what was recorded before the first is on the disk when the second is there. Other
 * processes append marks of their own to the same file. What one of them saw before it wrote a mark stands before it,
 * so cause and effect keep their order over processes without any clock.
 *
 * DISK_FAULTS: a file of rules, mapped, so that another process can turn faults on and off at once. See __init__.py.
 *
 * Not recorded: writing through a mapping (a shared writable one is noted, except of the -shm file, which SQLite makes
 * anew after a crash), and stdio. Whoever reads the log must compare it with the files once, to see that it is whole.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FDS 65536

enum { OPEN = 1, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, UNLINK, RENAME, LINK, MKDIR, RMDIR, MAP };
enum { CREATED = 1, DIRECTORY = 2 };
#define MAGIC 0x8F5DC0DE1A7B39E3u

struct record {
    uint64_t magic;  /* a kill may cut a record of some pages short: whoever reads on finds the next one by this */
    uint32_t length; /* of the whole record */
    uint32_t kind;
    uint64_t file; /* one number for each open */
    int64_t a, b;
};

enum { ON_WRITE, ON_SYNC, ON_TRUNCATE, ON_OPEN, ON_UNLINK, ON_READ, ON_ALLOCATE, KINDS };

struct rule {
    int32_t error;  /* errno of the call; 0: none */
    int32_t times;  /* how often; -1: until told otherwise */
    int32_t delay;  /* microseconds that each call takes longer */
    int32_t chop;   /* a write takes no more than so many bytes; 0: all */
    int32_t lie;    /* a sync claims to be done and is not */
    int32_t hits;   /* how often it struck */
    char suffix[40]; /* of the paths that it is for; empty: all below the root */
};

struct faults {
    struct rule rules[KINDS];
    int64_t free; /* bytes that statvfs shows to be free; -1: as they are */
};

static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static struct faults *faults;
static uint64_t file_of[FDS];
static char *path_of[FDS];
static uint64_t numbers;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void)
{
    const char *where = getenv("DISK_ROOT"), *name = getenv("DISK_LOG"), *told = getenv("DISK_FAULTS");
    if (!where)
        return;
    root_length = strlen(where);
    if (root_length >= sizeof root)
        abort();
    memcpy(root, where, root_length);
    numbers = (uint64_t)getpid() << 32; /* the servers of one log must not share numbers */
    if (name) {
        int fd = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        log_fd = fd < 0 ? -1 : syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900); /* out of everybody's way */
        if (log_fd < 0)
            abort();
        syscall(SYS_close, fd);
    }
    if (told) {
        int fd = syscall(SYS_openat, AT_FDCWD, told, O_RDWR | O_CLOEXEC, 0);
        if (fd < 0)
            abort();
        faults = (void *)syscall(SYS_mmap, 0, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (faults == MAP_FAILED)
            abort();
        syscall(SYS_close, fd);
    }
}

/* -- which files --------------------------------------------------------------------------------------------- */

/* The path made absolute, in `into`; NULL if it is none of ours. */
static const char *ours(const char *path, char into[PATH_MAX])
{
    if (!root_length || !path)
        return NULL;
    size_t at = 0;
    if (path[0] != '/') {
        if (syscall(SYS_getcwd, into, PATH_MAX) < 0)
            return NULL;
        at = strlen(into);
        into[at++] = '/';
    }
    if (at + strlen(path) >= PATH_MAX)
        return NULL;
    strcpy(into + at, path);
    if (strncmp(into, root, root_length) || (into[root_length] != '/' && into[root_length] != 0))
        return NULL;
    return into;
}

static uint64_t file(int fd)
{
    return fd >= 0 && fd < FDS ? file_of[fd] : 0;
}

static void forget(int fd)
{
    if (fd >= 0 && fd < FDS && file_of[fd]) {
        file_of[fd] = 0;
        free(path_of[fd]);
        path_of[fd] = NULL;
    }
}

/* -- the log ------------------------------------------------------------------------------------------------- */

static void note(uint32_t kind, uint64_t of, int64_t a, int64_t b, const void *payload, size_t size)
{
    if (log_fd < 0)
        return;
    struct record head = {MAGIC, (uint32_t)(sizeof head + size), kind, of, a, b};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)payload, size}};
    int before = errno;
    if (syscall(SYS_writev, log_fd, parts, 2) != (long)(sizeof head + size))
        abort(); /* a log with a hole would acquit the guilty */
    errno = before;
}

static void note_path(uint32_t kind, uint64_t of, int64_t a, const char *path)
{
    note(kind, of, a, 0, path, strlen(path));
}

static void note_two(uint32_t kind, const char *one, const char *two)
{
    char both[2 * PATH_MAX];
    size_t first = strlen(one) + 1, second = strlen(two);
    memcpy(both, one, first);
    memcpy(both + first, two, second);
    note(kind, 0, 0, 0, both, first + second);
}

/* -- faults -------------------------------------------------------------------------------------------------- */

static struct rule *rule(int kind, const char *path)
{
    if (!faults || !path)
        return NULL;
    struct rule *r = &faults->rules[kind];
    size_t suffix = strnlen(r->suffix, sizeof r->suffix), whole = strlen(path);
    return suffix <= whole && !strncmp(path + whole - suffix, r->suffix, suffix) ? r : NULL;
}

/* True if the call has to fail, with errno set. */
static int struck(struct rule *r)
{
    if (!r)
        return 0;
    if (r->delay)
        usleep(r->delay);
    if (!r->error)
        return 0;
    int left = __atomic_load_n(&r->times, __ATOMIC_SEQ_CST);
    while (left > 0 && !__atomic_compare_exchange_n(&r->times, &left, left - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
    if (left == 0)
        return 0;
    __atomic_add_fetch(&r->hits, 1, __ATOMIC_SEQ_CST);
    errno = r->error;
    return 1;
}

static struct rule *rule_fd(int kind, int fd)
{
    return file(fd) ? rule(kind, path_of[fd]) : NULL;
}

/* -- opening and closing ------------------------------------------------------------------------------------- */

static int opened(int dir, const char *path, int flags, mode_t mode)
{
    char buffer[PATH_MAX];
    const char *whole = dir == AT_FDCWD || (path && path[0] == '/') ? ours(path, buffer) : NULL;
    if (!whole)
        return syscall(SYS_openat, dir, path, flags, mode);
    if (struck(rule(ON_OPEN, whole)))
        return -1;
    pthread_mutex_lock(&lock);
    struct stat before, after;
    int there = fstatat(AT_FDCWD, whole, &before, 0) == 0;
    int fd = syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && fd < FDS && fstat(fd, &after) == 0) {
        forget(fd);
        file_of[fd] = ++numbers;
        path_of[fd] = strdup(whole);
        note_path(OPEN, file_of[fd], (there ? 0 : CREATED) | (S_ISDIR(after.st_mode) ? DIRECTORY : 0), whole);
        if (there && (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY)
            note(TRUNCATE, file_of[fd], 0, 0, "", 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

static mode_t mode_of(int flags, va_list more)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

#define OPENER(name, ...)                         \
    {                                             \
        va_list more;                             \
        va_start(more, flags);                    \
        mode_t mode = mode_of(flags, more);       \
        va_end(more);                             \
        return opened(__VA_ARGS__, flags, mode);  \
    }

int open(const char *path, int flags, ...) OPENER(open, AT_FDCWD, path)
int open64(const char *path, int flags, ...) OPENER(open64, AT_FDCWD, path)
int openat(int dir, const char *path, int flags, ...) OPENER(openat, dir, path)
int openat64(int dir, const char *path, int flags, ...) OPENER(openat64, dir, path)
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }

int close(int fd)
{
    if (fd == log_fd && fd >= 0) {
        errno = EBADF;
        return -1;
    }
    if (!file(fd))
        return syscall(SYS_close, fd);
    pthread_mutex_lock(&lock);
    forget(fd);
    int result = syscall(SYS_close, fd);
    pthread_mutex_unlock(&lock);
    return result;
}

/* -- writing ------------------------------------------------------------------------------------------------- */

static ssize_t written(int fd, const void *data, size_t size, off_t at)
{
    struct rule *r = rule_fd(ON_WRITE, fd);
    if (struck(r))
        return -1;
    if (r && r->chop > 0 && (size_t)r->chop < size) {
        size = r->chop;
        __atomic_add_fetch(&r->hits, 1, __ATOMIC_SEQ_CST);
    }
    pthread_mutex_lock(&lock);
    off_t where = at;
    if (at < 0) {
        int flags = syscall(SYS_fcntl, fd, F_GETFL);
        where = syscall(SYS_lseek, fd, 0, flags >= 0 && (flags & O_APPEND) ? SEEK_END : SEEK_CUR);
    }
    ssize_t done = at < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, at);
    if (done > 0)
        note(WRITE, file(fd), where, 0, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

static ssize_t gathered(int fd, const struct iovec *parts, int count, off_t at)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    char *whole = malloc(size + 1);
    if (!whole) {
        errno = ENOMEM;
        return -1;
    }
    size = 0;
    for (int i = 0; i < count; i++) {
        memcpy(whole + size, parts[i].iov_base, parts[i].iov_len);
        size += parts[i].iov_len;
    }
    ssize_t done = written(fd, whole, size, at);
    int why = errno;
    free(whole);
    errno = why;
    return done;
}

ssize_t write(int fd, const void *data, size_t size)
{
    return file(fd) ? written(fd, data, size, -1) : syscall(SYS_write, fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    return file(fd) ? written(fd, data, size, at) : syscall(SYS_pwrite64, fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    return pwrite(fd, data, size, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return file(fd) ? gathered(fd, parts, count, -1) : syscall(SYS_writev, fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    return file(fd) ? gathered(fd, parts, count, at) : syscall(SYS_pwritev, fd, parts, count, at, 0L);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at)
{
    return pwritev(fd, parts, count, at);
}

int ftruncate(int fd, off_t size)
{
    if (!file(fd))
        return syscall(SYS_ftruncate, fd, size);
    if (struck(rule_fd(ON_TRUNCATE, fd)))
        return -1;
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, size);
    if (result == 0)
        note(TRUNCATE, file(fd), size, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

/* A file that grows by it is as if it were truncated to more; one that does not is left as it is. */
static int allocated(int fd, int mode, off_t at, off_t length)
{
    if (struck(rule_fd(ON_ALLOCATE, fd)))
        return -1;
    pthread_mutex_lock(&lock);
    struct stat before;
    int known = file(fd) && fstat(fd, &before) == 0;
    int result = syscall(SYS_fallocate, fd, mode, at, length);
    if (result == 0 && known) {
        if (mode)
            abort(); /* holes are not recorded */
        if (at + length > before.st_size)
            note(TRUNCATE, file(fd), at + length, 0, "", 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fallocate(int fd, int mode, off_t at, off_t length) { return allocated(fd, mode, at, length); }
int fallocate64(int fd, int mode, off64_t at, off64_t length) { return allocated(fd, mode, at, length); }
int posix_fallocate(int fd, off_t at, off_t length) { return allocated(fd, 0, at, length) ? errno : 0; }
int posix_fallocate64(int fd, off64_t at, off64_t length) { return allocated(fd, 0, at, length) ? errno : 0; }

/* -- syncing ------------------------------------------------------------------------------------------------- */

static int synced(int fd, long call)
{
    uint64_t of = file(fd);
    if (!of)
        return syscall(call, fd);
    struct rule *r = rule_fd(ON_SYNC, fd);
    pthread_mutex_lock(&lock);
    int64_t ticket = (int64_t)++numbers;
    if (!(r && r->lie))
        note(SYNC_BEGIN, of, ticket, 0, "", 0);
    pthread_mutex_unlock(&lock);
    int result = struck(r) ? -1 : 0, why = errno;
    if (r && r->lie) {
        __atomic_add_fetch(&r->hits, 1, __ATOMIC_SEQ_CST);
        return result;
    }
    if (!result) {
        result = syscall(call, fd);
        why = errno;
    }
    pthread_mutex_lock(&lock);
    note(SYNC_END, of, ticket, result ? why : 0, "", 0);
    pthread_mutex_unlock(&lock);
    errno = why;
    return result;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

/* -- names --------------------------------------------------------------------------------------------------- */

int unlinkat(int dir, const char *path, int flags)
{
    char buffer[PATH_MAX];
    const char *whole = dir == AT_FDCWD || (path[0] == '/') ? ours(path, buffer) : NULL;
    if (!whole)
        return syscall(SYS_unlinkat, dir, path, flags);
    if (struck(rule(ON_UNLINK, whole)))
        return -1;
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_unlinkat, dir, path, flags);
    if (result == 0)
        note_path(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, whole);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int rename(const char *from, const char *to)
{
    char one[PATH_MAX], two[PATH_MAX];
    const char *whole = ours(from, one), *goal = ours(to, two);
    if (!whole && !goal)
        return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (result == 0) {
        if (!whole || !goal)
            abort(); /* it came from somewhere that is not recorded */
        note_two(RENAME, whole, goal);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int link(const char *from, const char *to)
{
    char one[PATH_MAX], two[PATH_MAX];
    const char *whole = ours(from, one), *goal = ours(to, two);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (result == 0 && (whole || goal)) {
        if (!whole || !goal)
            abort();
        note_two(LINK, whole, goal);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdirat(int dir, const char *path, mode_t mode)
{
    char buffer[PATH_MAX];
    const char *whole = dir == AT_FDCWD || (path[0] == '/') ? ours(path, buffer) : NULL;
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_mkdirat, dir, path, mode);
    if (result == 0 && whole)
        note_path(MKDIR, 0, 0, whole);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* -- reading ------------------------------------------------------------------------------------------------- */

ssize_t read(int fd, void *into, size_t size)
{
    return struck(rule_fd(ON_READ, fd)) ? -1 : syscall(SYS_read, fd, into, size);
}

ssize_t pread(int fd, void *into, size_t size, off_t at)
{
    return struck(rule_fd(ON_READ, fd)) ? -1 : syscall(SYS_pread64, fd, into, size, at);
}

ssize_t pread64(int fd, void *into, size_t size, off64_t at) { return pread(fd, into, size, at); }

void *mmap(void *hint, size_t size, int protection, int flags, int fd, off_t at)
{
    uint64_t of = file(fd);
    if (of && (protection & PROT_WRITE) && (flags & MAP_TYPE) != MAP_PRIVATE) {
        size_t length = strlen(path_of[fd]);
        if (length < 4 || strcmp(path_of[fd] + length - 4, "-shm"))
            note(MAP, of, 0, 0, "", 0);
    }
    return (void *)syscall(SYS_mmap, hint, size, protection, flags, fd, at);
}

void *mmap64(void *hint, size_t size, int protection, int flags, int fd, off64_t at)
{
    return mmap(hint, size, protection, flags, fd, at);
}

/* Both layouts are the kernel's business; only the free room is told otherwise. */
int statvfs64(const char *path, struct statvfs64 *into)
{
    struct statfs64 found;
    memset(into, 0, sizeof *into);
    if (syscall(SYS_statfs, path, &found) < 0)
        return -1;
    into->f_bsize = found.f_bsize;
    into->f_frsize = found.f_frsize ? found.f_frsize : found.f_bsize;
    into->f_blocks = found.f_blocks;
    into->f_bfree = found.f_bfree;
    into->f_bavail = found.f_bavail;
    into->f_files = found.f_files;
    into->f_ffree = into->f_favail = found.f_ffree;
    into->f_namemax = found.f_namelen;
    char buffer[PATH_MAX];
    if (faults && faults->free >= 0 && ours(path, buffer))
        into->f_bfree = into->f_bavail = faults->free / into->f_frsize;
    return 0;
}

int statvfs(const char *path, struct statvfs *into)
{
    return statvfs64(path, (struct statvfs64 *)into); /* the same on 64-bit machines */
}
