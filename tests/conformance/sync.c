// fsync, fdatasync, sync, syncfs, sync_file_range, fadvise, readahead: accepted where Linux accepts them.
#include "t.h"
const char *name = "sync";
void cases(void) {
    int p[2], fd = open("f", O_CREAT | O_RDWR, 0644), d = open(".", O_RDONLY), o = open("f", O_PATH), r = open("f", O_RDONLY);
    pipe(p);
    write(fd, "data", 4);
    CASE("fsync", "%s %s %s", R(fsync(fd)), R(fsync(r)), R(fsync(d)));
    CASE("fdatasync", "%s %s", R(fdatasync(fd)), R(fdatasync(d)));
    CASE("fsync-pipe", "%s %s", R(fsync(p[0])), R(fdatasync(p[1])));
    CASE("fsync-bad", "%s %s %s", R(fsync(99)), R(fdatasync(-1)), R(fsync(o)));
    sync();
    CASE("syncfs", "%s %s", R(syncfs(fd)), R(syncfs(99)));
    CASE("sync-file-range", "%s %s %s", R(sync_file_range(fd, 0, 4, SYNC_FILE_RANGE_WRITE)), R(sync_file_range(fd, 0, 4, 99)), R(sync_file_range(fd, -1, 4, 0)));
    CASE("sync-file-range-pipe", "%s", R(sync_file_range(p[0], 0, 1, 0)));
    CASE("fadvise", "%d %d %d %d", posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), posix_fadvise(fd, 0, 0, 99) == EINVAL, posix_fadvise(p[0], 0, 0, 0) == ESPIPE, posix_fadvise(99, 0, 0, 99) == EBADF);
    CASE("readahead", "%s %s %s", R(readahead(fd, 0, 4096)), R(readahead(99, 0, 1)), R(readahead(p[0], 0, 1)));
}
