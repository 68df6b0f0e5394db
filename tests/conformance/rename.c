// rename, renameat, renameat2: replacing, directories, flags, wrong places.
#include "t.h"
#include <linux/fs.h>
const char *name = "rename";
void cases(void) {
    t_spit("a", "A"), t_spit("b", "B");
    mkdir("d", 0755), mkdir("e", 0755), mkdir("e/full", 0755), symlink("a", "l");
    CASE("replace", "%s %s %s", R(rename("a", "b")), t_slurp("a"), t_slurp("b"));
    CASE("missing", "%s %s", R(rename("a", "c")), R(rename("b", "no/c")));
    CASE("self", "%s %s", R(rename("b", "b")), t_slurp("b"));
    link("b", "b2");
    CASE("same-inode", "%s %s %s", R(rename("b", "b2")), t_slurp("b"), t_slurp("b2"));
    CASE("file-on-dir", "%s %s", R(rename("b", "d")), R(rename("d", "b")));
    CASE("dir-on-empty", "%s", R(rename("d", "e/full")));
    mkdir("d", 0755);
    CASE("dir-on-full", "%s", R(rename("d", "e")));
    CASE("into-itself", "%s", R(rename("e", "e/full/x")));
    CASE("parent", "%s %s", R(rename("e/full", "e")), R(rename(".", "x")));
    CASE("dotdot", "%s %s", R(rename("d", "e/..")), R(rename("d/.", "x")));
    CASE("slash", "%s %s %s", R(rename("b", "new/")), R(rename("d/", "dd/")), R(rename("b/", "n")));
    CASE("symlink", "%s %s", R(rename("l", "l2")), ({ struct stat s; lstat("l2", &s); S_ISLNK(s.st_mode) ? "link" : "no"; }));
    t_spit("a", "A");
    CASE("noreplace", "%s %s", R(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE)), R(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE)));
    CASE("exchange", "%s %s %s", R(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE)), t_slurp("b"), t_slurp("c"));
    CASE("exchange-missing", "%s", R(renameat2(AT_FDCWD, "b", AT_FDCWD, "none", RENAME_EXCHANGE)));
    CASE("exchange-kinds", "%s %s", R(renameat2(AT_FDCWD, "b", AT_FDCWD, "e", RENAME_EXCHANGE)), t_slurp("e"));
    CASE("flags-together", "%s", R(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_NOREPLACE | RENAME_EXCHANGE)));
    CASE("unknown-flag", "%s", R(renameat2(AT_FDCWD, "none", AT_FDCWD, "c", 0x80)));
    int d = open("dd", O_RDONLY), k = open("c", O_RDWR);
    CASE("renameat", "%s %s", R(renameat(AT_FDCWD, "c", d, "moved")), t_slurp("dd/moved"));
    CASE("open-follows", "%s %s", R(pwrite(k, "!", 1, 0)), t_slurp("dd/moved"));
    CASE("bad-fds", "%s %s %s", R(renameat(99, "x", d, "y")), R(renameat(d, "moved", 99, "y")), R(renameat(99, BAD, d, "y")));
    CASE("bad-pointers", "%s %s", R(rename(BAD, "x")), R(rename("b", BAD)));
}
